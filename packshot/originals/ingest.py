"""From a file on this machine, or an address, to a tenant's original: decoded in full, kept by content."""

import hashlib
import secrets
from pathlib import Path

from packshot.catalog.packs import packs
from packshot.errors import ChecksumMismatch
from packshot.model import Original
from packshot.network.fetch import fetch, parse_allowed
from packshot.render.processes.pool import Lane, LoadShare
from packshot.site import Site, original_key
from packshot.storage.base import AlreadyThere, DamagedObject, Metadata, NoSuchObject, ObjectStore


def keep_original(
    site: Site, tenant: str, source: Path, *, sha256: str, size: int, lane: Lane = Lane.UPLOAD
) -> Original:
    """Check a picture and copy it to where originals live; what kind it is, its bytes tell.

    Args:
        sha256, size: of the file; nothing else is kept should it change meanwhile.
        lane: whether somebody waits for it.

    Raises:
        UnsupportedMedia, TooLarge, Unrenderable, RenderTimeout: the picture is refused.
    """
    original = _probe(site, tenant, source, sha256=sha256, size=size, lane=lane)
    # First, so that nothing is in the store that the catalog does not know, and nobody collects it meanwhile.
    with site.catalog.write(tenant) as tx:
        packs.announce_original(tx, original)
    key, metadata = original_key(tenant, sha256), Metadata(original.media_type, None, ())
    try:
        stored = site.originals.put(key, source, metadata)
    except AlreadyThere:
        if _holds(site.originals, key, sha256):
            return original
        site.originals.delete(key)
        stored = site.originals.put(key, source, metadata)
    if stored.sha256 != sha256:
        # What was probed and what was copied must be one; bytes that changed in between are neither.
        site.originals.delete(stored.key)
        raise ChecksumMismatch("The bytes changed while they were checked.", expected=sha256, got=stored.sha256)
    return original


def look_again(site: Site, tenant: str, sha256: str, size: int) -> Original:
    """Decode a stored original as this release does, and write down what is known of it now.

    Raises:
        UnsupportedMedia, TooLarge, Unrenderable, RenderTimeout: this release refuses the picture.
        NoSuchObject, DamagedObject: its bytes are lost.
        OSError: the store is away.
    """
    with site.originals.as_file(original_key(tenant, sha256)) as source:
        original = _probe(site, tenant, source, sha256=sha256, size=size, lane=Lane.BULK)
    with site.catalog.write(tenant) as tx:
        packs.announce_original(tx, original)
    return original


def _probe(site: Site, tenant: str, source: Path, *, sha256: str, size: int, lane: Lane) -> Original:
    facts = site.renderer.probe(source, lane, share=LoadShare(tenant, sha256))
    return Original(
        sha256=sha256,
        width=facts.width,
        height=facts.height,
        bytes=size,
        format=facts.format,
        alpha=facts.alpha,
        frames=facts.frames,
        thumbhash=facts.thumbhash,
        dominant_color=facts.dominant_color,
        quality=facts.quality,
        decoding_seconds=facts.decoding_seconds,
        decode_revision=facts.decode_revision,
    )


def digest_file(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _holds(store: ObjectStore, key: str, sha256: str) -> bool:
    """Whether a store has an object as it was put: whoever uploads a picture again may do so to mend it."""
    try:
        with store.open(key) as opened:
            digest = hashlib.sha256()
            for chunk in opened:
                digest.update(chunk)
    except (NoSuchObject, DamagedObject):
        return False
    return digest.hexdigest() == sha256


def fetch_original(site: Site, tenant: str, url: str, *, lane: Lane = Lane.UPLOAD) -> Original:
    """Fetch a picture by its address and keep it as `keep_original` does.

    Raises:
        FetchBlocked, FetchFailed, TooLarge: see `packshot.network.fetch.fetch`.
        UnsupportedMedia, TooLarge, Unrenderable, RenderTimeout: the picture is refused.
    """
    settings = site.settings
    path = site.incoming / secrets.token_hex(16)
    try:
        allowed = parse_allowed(settings.fetch_allow or "")
        fetched = fetch(url, path, max_bytes=settings.max_upload_bytes, allowed=allowed, user_agent=settings.user_agent)
        return keep_original(site, tenant, path, sha256=fetched.sha256, size=fetched.size, lane=lane)
    finally:
        path.unlink(missing_ok=True)
