"""Live resize: images named by the external ids of their packs, and uploads with one-time tokens."""

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

# The location of an uploaded image: the main location of a new pack.
LOCATION = "main"
TOKEN_EXPECTED = "the header X-Token with a token for this image, created in the last 15 minutes and not used"  # noqa: S105


def find_pack(tx: Tx, *image_ids: str) -> str:
    """Return the id of the pack of an image. Of several ids, the first that exists counts.

    Raises:
        NotFound: there is no such image in this tenant.
    """
    for image_id in image_ids:
        pack_id = packs.find_pack(tx, external_id=image_id)
        if pack_id is not None:
            return pack_id
    raise NotFound("There is no such image.", field=("id",), expected="the id of an image", got=image_ids[0])


class WrongToken(Forbidden):
    """The token is not valid for this image."""


def create_token(site: Site, tenant: str, image_id: str) -> str:
    """Create a token for the upload of one image, valid for one attempt within fifteen minutes.

    There may be several tokens for one image. The first upload that succeeds makes the others invalid.

    Raises:
        Invalid: the id is not valid.
        Forbidden: an image with this id exists.
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
    """Return the upload that a token opens. The token stays valid.

    Args:
        name: last segment of the path: the image's id, with or without an extension.

    Raises:
        Invalid: the name is not valid.
        WrongToken: the token is not valid for this image.
        Forbidden: the token was used or has expired, or the image exists.
    """
    check_image_id(strip_extension(name))
    with site.catalog.read(tenant) as tx, _refusing():
        # A read first, so that a wrong token does not wait among the writers.
        upload = uploads.check_token(tx, *_parts(token), image_ids=_meant(name))
        uploads.check_open(tx, upload)
        _refuse_taken(tx, str(upload.image_id))
    return upload


def use_token(site: Site, tenant: str, name: str, token: str) -> Upload:
    """Use a token up before the body is read, and return the upload.

    Raises:
        WrongToken, Forbidden: see `check_token`.
    """
    with site.catalog.write(tenant) as tx, _refusing():
        return uploads.begin_receiving(tx, *_parts(token), image_ids=_meant(name))


def _parts(token: str) -> tuple[str, str]:
    """Return the id of a token's upload, and the secret."""
    upload_id, _, secret = token.partition(".")
    return upload_id, secret


def _meant(name: str) -> tuple[str, str]:
    # The part after the last dot may belong to the id; the token decides.
    return name, name.rpartition(".")[0]


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except NotFound:
        raise WrongToken("This image cannot be uploaded without a token.", expected=TOKEN_EXPECTED) from None
    except (BadState, UploadExpired) as error:
        raise Forbidden("This token has been used.", expected=TOKEN_EXPECTED, got=error.got) from None


def create_image(caller: Caller, upload: Upload, received: Path, crop: Box | None) -> Size:
    """Create a pack from a received image file, in one transaction. Return the size of the cropped image.

    Args:
        crop: rectangle in pixels of the upright original; None: all of it. The stored original is complete.

    Raises:
        UnsupportedMedia, TooLarge, Unrenderable, RenderTimeout: the image is refused.
        Invalid: the crop is not within the image.
        Forbidden: another upload of this image has succeeded.
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
    return Forbidden("An image with this id exists.", field=("id",), expected="an id that is free", got=image_id)
