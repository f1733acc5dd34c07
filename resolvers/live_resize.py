"""Live resize: images named by their packs' external ids, each uploaded by whoever holds a token for it."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from packshot.catalog.clients import uploads
from packshot.catalog.clients.uploads import Upload, UploadMethod
from packshot.catalog.database.transaction import Tx
from packshot.catalog.packs import packs
from packshot.errors import BadState, Forbidden, NotFound, Taken, UploadExpired
from packshot.geometry import Box, Size, crop_box
from packshot.site import Site
from packshot.variants.live_request import check_image_id, crop_of, strip_extension
from resolvers.caller import Caller
from resolvers.originals import Source, keep_file
from resolvers.pack_imports import NewOriginal, NewPack, create_pack

# Where an uploaded image is shown: a new pack's main location.
LOCATION = "main"
TOKEN_EXPECTED = "the header X-Token with a token for this image, of the last 15 minutes and never used"  # noqa: S105


def find_pack(tx: Tx, *image_ids: str) -> str:
    """Return the id of the pack that an image is; of several ids the first that there is counts.

    Raises:
        NotFound: there is no such image in this tenant.
    """
    for image_id in image_ids:
        pack_id = packs.find_pack(tx, external_id=image_id)
        if pack_id is not None:
            return pack_id
    raise NotFound("There is no such image.", field=("id",), expected="an image's id", got=image_ids[0])


class WrongToken(Forbidden):
    """No token of that image."""


def create_token(site: Site, tenant: str, image_id: str) -> str:
    """Return a token by which one image can be uploaded within fifteen minutes, in one attempt.

    Several may be out for one image; the first upload that succeeds makes the others worthless.

    Raises:
        Invalid: no image can have that id.
        Forbidden: there is such an image already.
    """
    check_image_id(image_id)
    upload_id, secret = uploads.new_upload_id(), secrets.token_urlsafe(32)
    with site.catalog.write(tenant) as tx:
        _refuse_taken(tx, image_id)
        uploads.create_upload(
            tx,
            upload_id,
            secret,
            method=UploadMethod.ONE_TIME_TOKEN,
            media_type="image/*",
            max_bytes=site.settings.max_upload_bytes,
            image_id=image_id,
        )
    return f"{upload_id}.{secret}"


def check_token(site: Site, tenant: str, name: str, token: str) -> Upload:
    """Return the upload that a token opens, and leave the token as it is.

    Args:
        name: as it stands in the path: the image's id, perhaps with an extension.

    Raises:
        Invalid: no image can have that name.
        WrongToken: not a token of this image.
        Forbidden: it was used or has expired; or there is such an image by now.
    """
    check_image_id(strip_extension(name))
    with site.catalog.read(tenant) as tx, _refusing():
        # A wrong token takes no place among those who write.
        upload = uploads.check_token(tx, *_parts(token), image_ids=_meant(name))
        uploads.check_open(tx, upload)
        _refuse_taken(tx, str(upload.image_id))
    return upload


def use_token(site: Site, tenant: str, name: str, token: str) -> Upload:
    """Use up a token before the image's bytes are read, and return the upload.

    Raises:
        WrongToken, Forbidden: see `check_token`.
    """
    with site.catalog.write(tenant) as tx, _refusing():
        return uploads.begin_receiving(tx, *_parts(token), image_ids=_meant(name))


def _parts(token: str) -> tuple[str, str]:
    """Return the id of a token's upload and its secret."""
    upload_id, _, secret = token.partition(".")
    return upload_id, secret


def _meant(name: str) -> tuple[str, str]:
    # What follows an id's last dot may be of the id; the token knows.
    return name, name.rpartition(".")[0]


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except NotFound:
        raise WrongToken("This image cannot be uploaded without a token.", expected=TOKEN_EXPECTED) from None
    except (BadState, UploadExpired) as error:
        raise Forbidden("This token is used up.", expected=TOKEN_EXPECTED, got=error.got) from None


def create_image(caller: Caller, upload: Upload, received: Path, crop: Box | None) -> Size:
    """Make a pack that shows a received picture, in one transaction, and return how large it is shown.

    Args:
        crop: what is shown of it, in pixels of the upright picture; None: all. The original stays whole.

    Raises:
        UnsupportedMedia, TooLarge, Unrenderable, RenderTimeout: the picture is refused.
        Invalid: the crop is not within it.
        Forbidden: another upload of this image was faster.
    """
    original = keep_file(caller, received)
    whole = Size(original.width, original.height)
    relative = None if crop is None else crop_of(crop, whole)
    shown = NewOriginal(LOCATION, Source(kept=original), relative)
    try:
        create_pack(caller, NewPack({"external_id": upload.image_id}, [shown], live=True))
    except Taken:
        raise _taken(str(upload.image_id)) from None
    return crop_box(whole, relative).size


def _refuse_taken(tx: Tx, image_id: str) -> None:
    if packs.find_pack(tx, external_id=image_id) is not None:
        raise _taken(image_id)


def _taken(image_id: str) -> Forbidden:
    return Forbidden("There is such an image already.", field=("id",), expected="an id that is free", got=image_id)
