"""Uploads: announce, receive and check them."""

import re
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from packshot.catalog.clients import uploads
from packshot.catalog.clients.uploads import LIFETIME, Upload, UploadMethod, UploadState
from packshot.errors import BadState, ChecksumMismatch, Invalid, PackshotError, TooLarge
from packshot.model import Original
from packshot.originals.ingest import keep_original
from packshot.site import Site
from packshot.storage.base import DamagedObject, Metadata, NoSuchObject, Ticket, TooManyBytes
from resolvers.caller import Answer, Caller
from resolvers.urls.build import UPLOAD_TOKEN_FIELD, UPLOAD_TOKEN_HEADER, upload_url
from resolvers.urls.signatures import sign

if TYPE_CHECKING:
    # Imported only with a bucket: boto3 is slow to import, and not every installation has it.
    from packshot.storage.base import DirectAccess

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MEDIA_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+")


MAX_MEDIA_TYPE_CHARACTERS = 127
# The original's type is read from its bytes in any case.
UNKNOWN_MEDIA_TYPE = "application/octet-stream"
# Types that browsers, phones and stores send for files of unknown type.
_UNKNOWN = frozenset(
    ["", UNKNOWN_MEDIA_TYPE, "binary/octet-stream", "application/binary", "application/unknown",
     "application/x-octet-stream", "image/*", "*/*"]
)  # fmt: skip
OTHER_BYTES = "The received bytes are not the announced ones."


def upload_key(tenant: str, upload_id: str) -> str:
    """Return the key under which received bytes wait for `set_original`."""
    return f"{tenant}/{upload_id}"


def create_upload(
    caller: Caller,
    *,
    media_type: str,
    size: int,
    sha256: str | None,
    method: UploadMethod = UploadMethod.ONE_TIME_TOKEN,
) -> tuple[Upload, str]:
    """Announce an upload of up to `size` bytes. Return it and its one-time token.

    Raises:
        Invalid: the media type, size or digest is not valid.
        TooLarge: the upload exceeds the largest original.
    """
    largest = caller.site.settings.max_upload_bytes
    media_type = _read_media_type(media_type)
    if size < 1:
        raise Invalid("An upload has at least one byte.", field=("bytes",), expected=f"1 to {largest}", got=size)
    if size > largest:
        raise TooLarge(
            "An original cannot be that large.", field=("bytes",), expected=f"at most {largest} bytes", got=size
        )
    if sha256 is not None and not _SHA256.fullmatch(sha256.lower()):
        raise Invalid("This is not a SHA-256 digest.", field=("sha256",), expected="64 hex digits", got=sha256)
    upload_id = uploads.new_upload_id()
    token = _token(caller, upload_id)
    with caller.write() as tx:
        digest = None if sha256 is None else sha256.lower()
        upload = uploads.create_upload(
            tx,
            upload_id,
            token,
            method=_choose_method(caller.site, method),
            media_type=media_type,
            max_bytes=size,
            expected_sha256=digest,
        )
        caller.record(tx, Answer(upload=upload_id))
    return upload, token


def _read_media_type(given: str) -> str:
    """Return a media type in lower case without parameters, or `UNKNOWN_MEDIA_TYPE` if it is not specific.

    Raises:
        Invalid: it is not the type of an image.
    """
    media_type = given.partition(";")[0].strip().lower()
    if media_type in _UNKNOWN:
        return UNKNOWN_MEDIA_TYPE
    fits = len(media_type) <= MAX_MEDIA_TYPE_CHARACTERS and _MEDIA_TYPE.fullmatch(media_type)
    if not fits or not media_type.startswith("image/"):
        expected = f"an image type such as image/jpeg; {UNKNOWN_MEDIA_TYPE} or nothing if it is not known"
        raise Invalid("This is not an image type.", field=("media_type",), expected=expected, got=media_type)
    return media_type


def find_upload(caller: Caller, upload_id: str) -> Upload:
    """Return an upload of the tenant, for a repeated call."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return uploads.get_upload(tx, upload_id)


def find_ticket(caller: Caller, upload: Upload) -> Ticket:
    """Return where and how to send an upload's bytes: to the store if it accepts them, else to the application."""
    direct = caller.site.uploads.direct
    if direct is not None and upload.method is not UploadMethod.ONE_TIME_TOKEN:
        key = upload_key(caller.tenant, upload.id)
        left = int((upload.expires_at - datetime.now(UTC)).total_seconds())
        # The clocks of this machine and of the database may differ.
        seconds = max(1, min(left, int(LIFETIME.total_seconds())))
        if upload.method is UploadMethod.PRESIGNED_POST:
            return direct.sign_post(key, content_type=upload.media_type, most=upload.max_bytes, seconds=seconds)
        return direct.sign_put(key, content_type=upload.media_type, size=upload.max_bytes, seconds=seconds)
    url, token = upload_url(caller.origin, caller.tenant, upload.id), _token(caller, upload.id)
    if upload.method is UploadMethod.PRESIGNED_POST:
        return Ticket(url, "POST", fields={UPLOAD_TOKEN_FIELD: token})
    return Ticket(url, "PUT", headers={UPLOAD_TOKEN_HEADER: token})


def _choose_method(site: Site, asked: UploadMethod) -> UploadMethod:
    """Return the upload method: the requested one, unless the settings do not allow it."""
    possible = UploadMethod(site.settings.upload_method)
    if site.uploads.direct is None or possible is UploadMethod.PRESIGNED_POST:
        return asked
    return possible if asked is UploadMethod.PRESIGNED_POST or possible is UploadMethod.ONE_TIME_TOKEN else asked


def _token(caller: Caller, upload_id: str) -> str:
    return sign(caller.site, f"upload {caller.tenant} {upload_id}")


def begin_upload(site: Site, tenant: str, upload_id: str, token: str, *, announced: int = 0) -> Upload:
    """Use an upload's token up before the body is read.

    Args:
        announced: bytes that the client announces; 0: unknown.

    Raises:
        NotFound, BadState, UploadExpired: see `packshot.catalog.clients.uploads.begin_receiving`.
        TooLarge: the client announces more bytes than before. The token stays valid.
    """
    with site.catalog.read(tenant) as tx:
        # A read first, so that a wrong token does not wait among the writers.
        upload = uploads.check_token(tx, upload_id, token)
    if announced > upload.max_bytes:
        raise TooLarge(
            "The body is too large.",
            field=("bytes",),
            expected=f"at most {upload.max_bytes} bytes",
            got=announced,
        )
    with site.catalog.write(tenant) as tx:
        return uploads.begin_receiving(tx, upload_id, token)


def finish_upload(site: Site, tenant: str, upload: Upload, received: Path) -> Upload:
    """Store the received bytes until an original is made of them.

    After any exception the caller calls `fail_upload`.

    Raises:
        ChecksumMismatch: the bytes are not the announced ones.
    """
    stored = site.uploads.put(upload_key(tenant, upload.id), received, Metadata(upload.media_type, None, ()))
    if upload.expected_sha256 not in (None, stored.sha256):
        raise ChecksumMismatch(
            OTHER_BYTES,
            field=("sha256",),
            expected=upload.expected_sha256,
            got=stored.sha256,
        )
    with site.catalog.write(tenant) as tx:
        uploads.end_receiving(tx, upload.id, digest=stored.sha256, size=stored.size)
        return uploads.get_upload(tx, upload.id)


def fail_upload(site: Site, tenant: str, upload_id: str) -> None:
    """Fail an upload whose one attempt has failed."""
    # The row first: the dispatcher deletes bytes that remain, but clients would wait for an upload in progress.
    with site.catalog.write(tenant) as tx:
        uploads.fail_receiving(tx, upload_id)
    site.uploads.delete(upload_key(tenant, upload_id))


def check_upload(caller: Caller, upload_id: str) -> Original:
    """Decode an upload in full, store its bytes by content, and return the original.

    Raises:
        NotFound, BadState, UploadExpired: the upload does not exist, has no bytes yet, or has expired.
        ChecksumMismatch: the client sent other bytes to the store than announced.
        UnsupportedMedia, TooLarge, Unrenderable, RenderTimeout: the image is refused.
    """
    with caller.site.catalog.read(caller.tenant) as tx:
        upload = uploads.get_upload(tx, upload_id)
        uploads.check_not_expired(tx, upload)
    try:
        direct = caller.site.uploads.direct
        if direct is not None and upload.method is not UploadMethod.ONE_TIME_TOKEN:
            return _keep_direct(caller.site, caller.tenant, upload, direct)
        return _keep(caller.site, caller.tenant, upload)
    except PackshotError as error:
        raise error.at("upload_id") from None


def _keep(site: Site, tenant: str, upload: Upload) -> Original:
    if upload.state is not UploadState.RECEIVED:
        raise _not_received(upload.state.value)
    assert upload.sha256 is not None
    assert upload.bytes is not None
    try:
        with site.uploads.as_file(upload_key(tenant, upload.id)) as source:
            return keep_original(site, tenant, source, sha256=upload.sha256, size=upload.bytes)
    except NoSuchObject:
        raise _not_received("no bytes in the store") from None
    except DamagedObject:
        raise ChecksumMismatch("The upload's bytes are damaged in the store.", expected=upload.sha256) from None


def _keep_direct(site: Site, tenant: str, upload: Upload, direct: "DirectAccess") -> Original:
    """Check the bytes that a client put into the store. It may replace them at any moment, so a copy is checked."""
    path = site.incoming / secrets.token_hex(16)
    try:
        size, digest = direct.receive(upload_key(tenant, upload.id), path, max_bytes=upload.max_bytes)
        if upload.expected_sha256 not in (None, digest):
            raise ChecksumMismatch(OTHER_BYTES, expected=upload.expected_sha256, got=digest)
        return keep_original(site, tenant, path, sha256=digest, size=size)
    except NoSuchObject:
        raise _not_received("no bytes in the store") from None
    except TooManyBytes:
        most = upload.max_bytes
        raise TooLarge(
            "The store received more bytes than announced.", expected=f"at most {most} bytes", got="more"
        ) from None
    finally:
        path.unlink(missing_ok=True)


def _not_received(got: str) -> BadState:
    return BadState(
        "This upload's bytes have not been received.", expected="an upload whose bytes were accepted", got=got
    )
