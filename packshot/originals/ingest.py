"""Ingest an original from a file or a URL: decode it completely, and store it by its content."""

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
    """Check an image and store it as an original. Its bytes decide its format.

    Args:
        sha256, size: of the file. If the file changes meanwhile, it is refused.
        lane: the urgency, by whether a client waits for it.

    Raises:
        UnsupportedMedia, TooLarge, Unrenderable, RenderTimeout: the image is refused.
        ChecksumMismatch: the file changed meanwhile.
    """
    original = _probe(site, tenant, source, sha256=sha256, size=size, lane=lane)
    # The row comes first: the store never holds an original that the catalog does not know, and the collector spares
    # it.
    with site.catalog.write(tenant) as tx:
        packs.announce_original(tx, original)
    key, metadata = original_key(tenant, sha256), Metadata(original.media_type, None, ())
    try:
        stored = site.originals.put(key, source, metadata)
    except AlreadyThere:
        if _has_undamaged(site.originals, key, sha256):
            return original
        site.originals.delete(key)
        stored = site.originals.put(key, source, metadata)
    if stored.sha256 != sha256:
        # The image that was checked must be the one that was stored.
        site.originals.delete(stored.key)
        raise ChecksumMismatch("The bytes changed while they were checked.", expected=sha256, got=stored.sha256)
    return original


def redecode_original(site: Site, tenant: str, sha256: str, size: int) -> Original:
    """Decode a stored original with this release, and update what the catalog knows of it.

    Raises:
        UnsupportedMedia, TooLarge, Unrenderable, RenderTimeout: this release refuses the image.
        NoSuchObject, DamagedObject: its bytes are lost.
        OSError: the store is down.
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
    """Return the SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _has_undamaged(store: ObjectStore, key: str, sha256: str) -> bool:
    """Whether a store holds an undamaged object. Uploading an image again repairs a damaged original."""
    try:
        with store.open(key) as opened:
            digest = hashlib.sha256()
            for chunk in opened:
                digest.update(chunk)
    except (NoSuchObject, DamagedObject):
        return False
    return digest.hexdigest() == sha256


def fetch_original(site: Site, tenant: str, url: str, *, lane: Lane = Lane.UPLOAD) -> Original:
    """Fetch an image from a URL and store it as `keep_original` does.

    Raises:
        FetchBlocked, FetchFailed, TooLarge: see `packshot.network.fetch.fetch`.
        UnsupportedMedia, TooLarge, Unrenderable, RenderTimeout: the image is refused.
    """
    settings = site.settings
    path = site.incoming / secrets.token_hex(16)
    try:
        allowed = parse_allowed(settings.fetch_allow or "")
        fetched = fetch(url, path, max_bytes=settings.max_upload_bytes, allowed=allowed, user_agent=settings.user_agent)
        return keep_original(site, tenant, path, sha256=fetched.sha256, size=fetched.size, lane=lane)
    finally:
        path.unlink(missing_ok=True)
