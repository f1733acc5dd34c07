"""Convert the bytes and metadata of one object to and from S3 requests and responses."""

import errno
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from botocore.exceptions import BotoCoreError
from urllib3.exceptions import HTTPError

from packshot.storage.base import CHUNK_BYTES, DamagedObject, Metadata, Stored
from packshot.storage.s3_client import Damaged, WrongBytes

# Larger bodies in memory are sent as a file. `connect_seconds` limits a whole body of bytes, but each part of a file.
_SENT_AT_ONCE_BYTES = 1 << 18


class Body:
    """The body of a response; its size and digest are checked while it is read."""

    def __init__(self, raw: Any, stored: Stored) -> None:
        self._raw = raw
        self._stored = stored
        self._left = stored.size
        self._digest = sha256()
        self._ended = False

    def read(self, size: int, /) -> bytes:
        if self._ended:
            return b""
        try:
            chunk: bytes = self._raw.read(min(size, self._left))
            if len(chunk) == self._left:
                self._raw.read(1)  # Read to the end, which returns the connection to the pool.
        except (BotoCoreError, HTTPError, OSError) as error:
            raise Damaged(f"{self._stored.key}: the store broke off within the body: {error}") from error
        self._left -= len(chunk)
        self._digest.update(chunk)
        if self._left and not chunk:
            raise Damaged(f"{self._stored.key}: {self._left} of {self._stored.size} bytes are missing")
        if not self._left:
            self._ended = True
            if self._digest.hexdigest() != self._stored.sha256:
                raise WrongBytes(f"{self._stored.key}: the bytes are not those that were put")
        return chunk

    def close(self) -> None:
        self._ended = True
        self._raw.close()


def headers_of(stored: Stored) -> dict[str, Any]:
    """Return the parameters for S3's put request that describe the object."""
    metadata = stored.metadata
    kept = {"sha256": stored.sha256, "size": str(stored.size), "put-at": stored.modified_at.isoformat()}
    if metadata.tags:
        kept["tags"] = ",".join(metadata.tags)
    headers: dict[str, Any] = {"ContentType": metadata.content_type, "Metadata": kept}
    if metadata.cache_control is not None:
        headers["CacheControl"] = metadata.cache_control
    return headers


def stored_of(key: str, answer: dict[str, Any]) -> Stored:
    """Return what a response says about an object.

    Raises:
        DamagedObject: the metadata is not what `headers_of` wrote.
    """
    # Some stores return the names in capitals.
    kept = {name.lower(): value for name, value in answer["Metadata"].items()}
    try:
        # An object that an old release or another program put has no size in its metadata.
        if int(kept.get("size", answer["ContentLength"])) != answer["ContentLength"]:
            text = f"{key}: expected {kept['size']} bytes, got {answer['ContentLength']}"
            raise DamagedObject(errno.EIO, text)
        return Stored(
            key=key,
            size=answer["ContentLength"],
            # An object that another program put has at most the store's checksum.
            sha256=kept.get("sha256") or b64decode(answer["ChecksumSHA256"], validate=True).hex(),
            metadata=Metadata(
                content_type=answer["ContentType"],
                cache_control=answer.get("CacheControl"),
                tags=tuple(kept["tags"].split(",")) if kept.get("tags") else (),
            ),
            modified_at=(
                datetime.fromisoformat(kept["put-at"]) if "put-at" in kept else answer["LastModified"]
            ).astimezone(UTC),
        )
    except (ValueError, KeyError):
        raise DamagedObject(
            errno.EIO, f"{key}: its metadata is damaged, or a program other than Packshot put it"
        ) from None


@contextmanager
def sendable(body: bytes | Path) -> Iterator[bytes | BinaryIO]:
    """Open a body for the client library: a small one as bytes, a larger one as a file that is read in parts."""
    if isinstance(body, bytes) and len(body) <= _SENT_AT_ONCE_BYTES:
        yield body
        return
    with _reading(body) as content:
        yield content


def measure(body: bytes | Path) -> tuple[int, bytes]:
    """Return the length and the SHA-256 of a body."""
    size, digest = 0, sha256()
    with _reading(body) as content:
        while chunk := content.read(CHUNK_BYTES):
            size += len(chunk)
            digest.update(chunk)
    return size, digest.digest()


def _reading(body: bytes | Path) -> BinaryIO:
    return BytesIO(body) if isinstance(body, bytes) else body.open("rb")
