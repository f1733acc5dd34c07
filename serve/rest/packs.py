"""Packs, their locations and their originals: operations that read a call and run a use case."""

import re

from packshot.errors import Invalid
from resolvers import originals, pack_imports, packs
from resolvers.originals import Source
from resolvers.pack_imports import NewPack
from resolvers.packs import PackLocationPatch
from schema.base.scalars import MAX_LONG
from serve.rest import documents, fields
from serve.rest.calls import Call, Document, no_pack

ASSET_ID = re.compile(r"-?[0-9]{1,16}")


def create_pack(call: Call) -> Document:
    """Create a pack.

    Raises:
        PackshotError: see `resolvers.pack_imports.create_pack`.
    """
    new = NewPack(fields.read(call.body, fields.PACK), overrides=fields.pack_locations(call.body))
    return documents.pack(pack_imports.create_pack(call.caller, new)[0])


def get_pack(call: Call) -> Document:
    """Return a pack by its id.

    Raises:
        NotFound: the pack does not exist.
    """
    return _load(call, call.pack_id)


def get_pack_via_asset(call: Call) -> Document:
    """Return the pack of an asset.

    Raises:
        NotFound: no pack has this asset id.
    """
    named = call.path["assetId"]
    asset_id = int(named) if ASSET_ID.fullmatch(named) else None
    found = None
    if asset_id is not None and abs(asset_id) <= MAX_LONG:
        found = packs.find_pack(call.caller, asset_id=asset_id)
    if found is None:
        raise no_pack(named)
    return _load(call, found)


def put_pack(call: Call) -> Document:
    """Change a pack's overrides, and those of the pack locations in its `imageLocations`.

    Raises:
        PackshotError: see `resolvers.packs.update_pack`.
    """
    values, pack_locations = fields.read(call.body, fields.PACK), fields.pack_locations(call.body)
    return documents.pack(packs.update_pack(call.caller, call.pack_id, values, pack_locations)[0])


def put_slot(call: Call) -> Document:
    """Change one pack location.

    Raises:
        PackshotError: see `resolvers.packs.edit_pack_location`.
    """
    patch = PackLocationPatch(call.location, fields.read(call.body, fields.PACK_LOCATION))
    return documents.pack(packs.edit_pack_location(call.caller, call.pack_id, patch)[0])


def delete_pack(call: Call) -> Document:
    """Delete a pack.

    Raises:
        NotFound: the pack does not exist.
    """
    packs.delete_pack(call.caller, call.pack_id)
    return {"id": call.pack_id}


def upload(call: Call) -> Document:
    """Set the call's image as the original of a pack location.

    Raises:
        PackshotError: see `resolvers.originals.set_original`.
    """
    assert call.picture is not None
    return _set_original(call, Source(received=call.picture))


def fetch_image(call: Call) -> Document:
    """Fetch an image from a URL and set it as the original of a pack location.

    Raises:
        Invalid: the URL is missing.
        PackshotError: see `resolvers.originals.set_original`.
    """
    url = call.query.get("imageUrl")
    if not url:
        raise Invalid("The URL of the image is missing.", field=("url",), expected="?imageUrl=https://…", got="nothing")
    return _set_original(call, Source(url=url))


def _set_original(call: Call, source: Source) -> Document:
    snapshot, _ = originals.set_original(call.caller, call.pack_id, call.location, source)
    return documents.stamped_pack(snapshot)


def _load(call: Call, pack_id: str) -> Document:
    found = packs.load_snapshots(call.caller, [pack_id]).get(pack_id)
    if found is None:
        raise no_pack(call.path.get("id", pack_id))
    return documents.pack(found)
