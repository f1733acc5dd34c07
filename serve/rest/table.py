"""All operations of the REST admin API in one table, from which its routes and its description are built."""

from resolvers.caller import Scope
from serve.rest import locations, packs, purge
from serve.rest.calls import Operation, Takes, Work

_CONFIG = "/adminAPI/imageLocationConfig/{name}"
_PACK = "/adminAPI/imagePack/{id}"
_SLOT = f"{_PACK}/{{location}}"
_EDIT = (Scope.PACKS_WRITE,)

OPERATIONS = (
    Operation(
        id="listImageLocationConfigs",
        method="GET",
        path="/adminAPI/imageLocationConfigs",
        summary="All locations of the tenant, by name.",
        scopes=(Scope.READ,),
        act=locations.list_configs,
        answer="ImageLocationConfigs",
    ),
    Operation(
        id="getImageLocationConfig",
        method="GET",
        path=_CONFIG,
        summary="One location.",
        scopes=(Scope.READ,),
        act=locations.get_config,
        answer="ImageLocationConfig",
    ),
    Operation(
        id="putImageLocationConfig",
        method="PUT",
        path=_CONFIG,
        summary="Create or change a location. Absent fields do not change, null resets. A change of live variants "
        "needs force: without it the response is 409 with the plan, with it the change is live at once.",
        scopes=(Scope.LOCATIONS_WRITE,),
        act=locations.put_config,
        takes=Takes.OBJECT,
        body="ImageLocationConfigInput",
        answer="ImageLocationConfig",
        query=("force",),
        refusals=(400, 409, 413),
    ),
    Operation(
        id="deleteImageLocationConfig",
        method="DELETE",
        path=_CONFIG,
        summary="Delete a location. One that packs or other locations use needs force.",
        scopes=(Scope.LOCATIONS_WRITE,),
        act=locations.delete_config,
        answer="DeletedImageLocationConfig",
        query=("force",),
        refusals=(400, 409),
    ),
    Operation(
        id="createImagePack",
        method="POST",
        path="/adminAPI/imagePacks",
        summary="Create a pack; `{}` is enough.",
        scopes=_EDIT,
        act=packs.create_pack,
        takes=Takes.OBJECT,
        body="ImagePackInput",
        answer="ImagePack",
        refusals=(400, 409, 413),
    ),
    Operation(
        id="getImagePack",
        method="GET",
        path=_PACK,
        summary="One pack.",
        scopes=(Scope.READ,),
        act=packs.get_pack,
        answer="ImagePack",
    ),
    Operation(
        id="putImagePack",
        method="PUT",
        path=_PACK,
        summary="Change a pack. Absent fields and locations do not change, null resets.",
        scopes=_EDIT,
        act=packs.put_pack,
        takes=Takes.OBJECT,
        body="ImagePackInput",
        answer="ImagePack",
        refusals=(400, 409, 413),
    ),
    Operation(
        id="deleteImagePack",
        method="DELETE",
        path=_PACK,
        summary="Delete a pack. Its immutable URLs work until the grace period ends.",
        scopes=_EDIT,
        act=packs.delete_pack,
        answer="DeletedImagePack",
    ),
    Operation(
        id="getImagePackViaAsset",
        method="GET",
        path="/adminAPI/imagePackViaAsset/{assetId}",
        summary="The pack of an asset.",
        scopes=(Scope.READ,),
        act=packs.get_pack_via_asset,
        answer="ImagePack",
    ),
    Operation(
        id="putImagePackLocation",
        method="PUT",
        path=_SLOT,
        summary="Change one pack location: its crop and how it is resized. Absent fields do not change, null resets.",
        scopes=_EDIT,
        act=packs.put_slot,
        takes=Takes.OBJECT,
        body="PackLocationInput",
        answer="ImagePack",
        refusals=(400, 413),
    ),
    Operation(
        id="uploadImage",
        method="POST",
        path=f"{_SLOT}/upload",
        summary="Set an image as the original of a pack location, in place of the former one. Crops stay. The "
        "body is the image, or a form whose first file it is.",
        # The scopes of `createUpload` and `setOriginal` together.
        scopes=(Scope.UPLOADS_WRITE, Scope.PACKS_WRITE),
        act=packs.upload,
        takes=Takes.PICTURE,
        answer="StampedImagePack",
        refusals=(400, 413, 415, 422),
        work=Work.PICTURES,
    ),
    Operation(
        id="fetchImage",
        method="POST",
        path=f"{_SLOT}/fetchImage",
        summary="Fetch an image and set it as the original of a pack location. It is stored before the response.",
        scopes=_EDIT,
        act=packs.fetch_image,
        takes=Takes.MAYBE_OBJECT,
        body="Anything",
        answer="StampedImagePack",
        query=("imageUrl",),
        refusals=(400, 413, 415, 422),
        work=Work.FETCHES,
    ),
    *(
        Operation(
            id=id,
            method="DELETE",
            path=path,
            summary="Purge a pack from the CDN now; edits are purged automatically.",
            scopes=(Scope.CDN_WRITE,),
            act=purge.purge,
            answer="Purged",
            status=202,
        )
        for id, path in (
            ("purgeImagePack", "/adminAPI/images/{tenant}/{id}"),
            ("invalidateImagePack", "/{env}-lof/images/{tenant}/{id}"),
        )
    ),
)
