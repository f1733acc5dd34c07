"""Originals: set one from an upload or a URL, and sign URLs at which originals can be read."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from packshot.catalog.configuration.snapshots import read_snapshot
from packshot.catalog.packs import packs
from packshot.catalog.variants import ledger
from packshot.catalog.work import url_imports
from packshot.catalog.work.jobs import Job
from packshot.errors import Forbidden, PackshotError
from packshot.model import Original, Snapshot
from packshot.originals.ingest import digest_file, fetch_original, keep_original
from packshot.site import Site, original_key
from resolvers.caller import Answer, Caller
from resolvers.orders import order_packs, ring_doorbell
from resolvers.uploads import check_upload
from resolvers.urls.build import original_url
from resolvers.urls.signatures import is_signed, sign

LIFETIME = timedelta(minutes=15)
# `Cache-Control` of every response with the bytes of an original.
DISPOSITION = "inline"
CACHE_CONTROL = "private, no-store"


@dataclass(frozen=True, slots=True)
class Source:
    """The source of an original. Exactly one attribute is set.

    Attributes:
        received: a local file that came with the call; it is deleted afterwards.
        kept: an original that was checked and is stored already.
    """

    upload_id: str | None = None
    url: str | None = None
    received: Path | None = None
    kept: Original | None = None


def set_original(
    caller: Caller, pack_id: str, location: str, source: Source, *, expected_version: int | None = None
) -> tuple[Snapshot, Job]:
    """Set a pack location's original from an upload or a URL, and order the pack's variants.

    The image is first decoded in full, so an image that cannot be rendered is refused at once. Crop and focus stay,
    because they are relative. One upload may serve several pack locations until it expires.

    Raises:
        NotFound: no such upload, pack or location in this tenant.
        BadState: the upload's bytes have not been received.
        UploadExpired: more than fifteen minutes have passed.
        FetchBlocked, FetchFailed: the URL is not allowed, or yields no image.
        UnsupportedMedia, TooLarge, Unrenderable, RenderTimeout: the image is refused.
        VersionConflict: the pack's version is not `expected_version`.
    """
    with caller.site.catalog.read(caller.tenant) as tx:
        read_snapshot(tx, pack_id)
        packs.check_location(tx, location, "location")
    original = take_original(caller, source)
    with caller.write() as tx:
        cause = f"setOriginal by {caller.subject}"
        packs.touch_pack(tx, pack_id, cause=cause, expected_version=expected_version)
        url_imports.cancel_import(tx, pack_id, location)
        packs.keep_original(tx, pack_id, original)
        packs.set_pack_location(tx, pack_id, location, {"original_sha256": original.sha256, "original_at": tx.now})
        job = order_packs(tx, caller.site, [pack_id], by=caller.subject)
        # The same image again is also retried, because its bytes may have been lost.
        ledger.retry_failures(tx, [pack_id])
        caller.record(tx, Answer(pack=pack_id, pack_location=location, job=job))
        snapshot = read_snapshot(tx, pack_id)
    ring_doorbell(caller, [pack_id])
    return snapshot, job


def take_original(caller: Caller, source: Source) -> Original:
    """Check the bytes of a source, store them by content, and return the original.

    Raises:
        PackshotError: see `set_original`; the field begins with `source`.
    """
    if source.kept is not None:
        return source.kept
    try:
        if source.received is not None:
            return keep_file(caller, source.received)
        if source.url is None:
            assert source.upload_id is not None
            return check_upload(caller, source.upload_id)
        try:
            return fetch_original(caller.site, caller.tenant, source.url)
        except PackshotError as error:
            raise error.at("url") from None
    except PackshotError as error:
        raise error.at("source") from None


def keep_file(caller: Caller, path: Path) -> Original:
    """Check an image file, store its bytes by content, and return the original.

    Raises:
        UnsupportedMedia, TooLarge, Unrenderable, RenderTimeout: the image is refused.
    """
    return keep_original(caller.site, caller.tenant, path, sha256=digest_file(path), size=path.stat().st_size)


def sign_original(caller: Caller, original: Original) -> str:
    """Return a URL at which an original can be read for fifteen minutes, without further authentication."""
    key = original_key(caller.tenant, original.sha256)
    if (direct := caller.site.originals.direct) is not None:
        headers = {
            "ResponseContentType": original.media_type,
            "ResponseContentDisposition": DISPOSITION,
            "ResponseCacheControl": CACHE_CONTROL,
        }
        return direct.sign_get(key, seconds=int(LIFETIME.total_seconds()), headers=headers)
    expires = int((datetime.now(UTC) + LIFETIME).timestamp())
    return original_url(
        caller.origin, key, expires, sign(caller.site, _signed(caller.tenant, original.sha256, expires))
    )


def open_original(site: Site, tenant: str, sha256: str, expires: str, signature: str) -> Original:
    """Return the original that a signed URL names.

    Raises:
        Forbidden: the signature is wrong, or the URL has expired.
        NotFound: the original no longer exists.
    """
    if not is_signed(site, _signed(tenant, sha256, expires), signature):
        raise Forbidden(
            "The signature of this URL is wrong.", field=("signature",), expected="the URL as it was issued"
        )
    if int(expires) <= datetime.now(UTC).timestamp():
        raise Forbidden("This URL has expired.", field=("expires",), expected="a new one from `Original.url`")
    with site.catalog.read(tenant) as tx:
        return packs.get_original(tx, sha256)


def _signed(tenant: str, sha256: str, expires: int | str) -> str:
    return f"original {original_key(tenant, sha256)} {expires}"
