"""The interface of an object store, independent of where the bytes are kept.

An object is written once and whole, with its metadata; no reader ever sees a part of it. The contract suite in
`tests/storage/contract.py` runs against every store.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol, Self

CHUNK_BYTES = 1 << 20
MAX_KEY = 512
# File systems limit names to 255 bytes. The rest is for what a store adds to a name.
MAX_SEGMENT = 200
# S3 keeps 2 KB of metadata with an object. The rest is for the store's own entries.
MAX_TAGS_BYTES = 1800

SEGMENT = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9._-]*")
_HEADER_TEXT = re.compile(r"[ -~]+")
_TAG = re.compile(r"[!-+\--~]+")


class AlreadyThere(Exception):
    """An object already exists under that key, and was left unchanged. This is an answer, not a refusal."""


class DamagedObject(OSError):
    """The object under a key is not what was put there: its bytes differ, or its metadata is not readable.

    Reading it again gives the same result. (A store that breaks off is an outage, a plain `OSError`.) An object whose
    key is computed from its content can be made again.
    """


class NoSuchObject(KeyError):
    """No object exists under that key."""


class TooManyBytes(Exception):
    """A client put more bytes than it was allowed to."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is kept with an object and sent with it as headers.

    Attributes:
        content_type: media type of the body.
        cache_control: the header's value; None: the server of the object decides.
        tags: purge tags, each of visible ASCII without a comma. Together they have at most 1800 bytes, counting a
        comma
            after each. They are never cut: no purge would find a copy that lacks its tag.

    Raises:
        ValueError: a value cannot be sent in a header, or the tags are too long together.
    """

    content_type: str
    cache_control: str | None
    tags: tuple[str, ...]

    def __post_init__(self) -> None:
        for text in (self.content_type, self.cache_control):
            if text is not None and not _HEADER_TEXT.fullmatch(text):
                raise ValueError(f"Metadata: expected printable ASCII, got {text!r}.")
        for tag in self.tags:
            # Stores and purgers join tags with commas or spaces.
            if not _TAG.fullmatch(tag):
                raise ValueError(f"Tag: expected visible ASCII without a comma, got {tag!r}.")
        size = sum(len(tag) + 1 for tag in self.tags)
        if size > MAX_TAGS_BYTES:
            raise ValueError(
                f"Tags: expected at most {MAX_TAGS_BYTES} bytes together, got {size} bytes in {len(self.tags)} tags."
            )


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of an object, without its bytes.

    Attributes:
        size: bytes of the body.
        sha256: SHA-256 of the body, 64 lower-case hex digits.
        modified_at: when it was put; UTC, aware.
    """

    key: str
    size: int
    sha256: str
    metadata: Metadata
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Ticket:
    """How a client sends one object: as a form with `fields` and then the part `file`, or as the raw body."""

    url: str
    method: str
    fields: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class DirectAccess(Protocol):
    """Sign requests that clients send to a bucket directly, and read the objects that they put there."""

    def sign_get(self, key: str, *, seconds: int, headers: Mapping[str, str]) -> str:
        """Return a URL that gives the object for `seconds`, with these headers in the response.

        Args:
            headers: values for Content-Type, Content-Disposition and Cache-Control, under S3's parameter names
                (`ResponseContentType` and so on).
        """
        ...

    def sign_put(self, key: str, *, content_type: str, size: int, seconds: int) -> Ticket:
        """Allow a client to put an object of exactly `size` bytes as the raw body of a PUT."""
        ...

    def sign_post(self, key: str, *, content_type: str, most: int, seconds: int) -> Ticket:
        """Allow a client to put an object of 1 to `most` bytes by a form."""
        ...

    def receive(self, key: str, into: Path, *, max_bytes: int) -> tuple[int, str]:
        """Copy an object that a client put into the file `into`; return its size and SHA-256.

        The object is read once, so the digest always belongs to the bytes in the file, even if the client puts other
        bytes at the same time.

        Raises:
            NoSuchObject: no object exists under that key.
            TooManyBytes: the object has more than `max_bytes` bytes; reading stops there.
        """
        ...


class Readable(Protocol):
    """What `Opened` reads from: a file, or the body of an HTTP response."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class Opened:
    """An object opened for reading once, in chunks of at most `CHUNK_BYTES` bytes.

    Close it, or use it in a `with`. It stays readable to its end even if the object is deleted meanwhile.
    """

    def __init__(self, stored: Stored, body: Readable) -> None:
        self.stored = stored
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._body.read(CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
        """Close the file or connection. Harmless to repeat."""
        self._body.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ObjectStore(Protocol):
    """Bytes under keys. Every method may be called from any thread or process.

    Every method raises `ValueError` for a key that breaks the rules of `check_key`, and `OSError` for an outage: a
    store that is down never reports that an object does not exist. Methods that read raise `DamagedObject` if the body
    is not what was put; `head` notices only what shows without reading the bytes. A key must not be the folder of
    another key ("a" beside "a/b"), because some stores cannot keep both.
    """

    @property
    def direct(self) -> DirectAccess | None:
        """Signed requests that clients send to the store itself; None: the store does not support them."""
        ...

    def put(self, key: str, body: bytes | Path, metadata: Metadata) -> Stored:
        """Store `body` under `key` permanently. If `body` is a path, its content is copied and the file stays.

        When this returns, the object survives a crash of the machine.

        Raises:
            AlreadyThere: an object exists under that key; it stays unchanged.
        """
        ...

    def get(self, key: str) -> tuple[bytes, Stored]:
        """Return the whole body, and what is known of the object.

        Raises:
            NoSuchObject: no object exists under that key.
        """
        ...

    def head(self, key: str) -> Stored | None:
        """Return what is known of the object; None: it does not exist."""
        ...

    def open(self, key: str) -> Opened:
        """Open the object for reading in chunks; the caller closes it.

        Raises:
            NoSuchObject: no object exists under that key.
        """
        ...

    def delete(self, key: str) -> None:
        """Delete the object; a missing object is no error."""
        ...

    def erase(self, place: str) -> int:
        """Delete an object beyond recovery, or for "a/b/" every object whose key starts so; return how many existed.

        All versions that the store keeps are deleted, and what an aborted put left there. Objects put meanwhile may
        stay.
        """
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Yield every key that starts with `prefix`, in the order of its characters.

        The prefix is text, not a folder: "a/b" finds "a/b" and "a/bc/d"; "" finds all. Objects that are put or deleted
        meanwhile may be included or not.
        """
        ...

    def local_path(self, key: str) -> Path | None:
        """Return a file on this machine that holds the body, for `sendfile`.

        None: the store is remote or down, or the object does not exist; `open` tells which.
        """
        ...

    def as_file(self, key: str) -> AbstractContextManager[Path]:
        """Provide the body as a file on this machine for the block, for a render process to read.

        The file must not be written to. A remote object is fetched for it in chunks, never whole into memory, and the
        file is removed afterwards.

        Raises:
            NoSuchObject: no object exists under that key.
        """
        ...


def check_key(key: str) -> str:
    """Return `key` if it is a valid key.

    A key is segments of `[a-z0-9][a-z0-9._-]*`, each of at most 200 characters and without "..", joined by "/", with at
    most 512 characters in all. Only lower case, because some file systems ignore case.

    Raises:
        ValueError: it is not valid.

    >>> check_key("default/5f2c/main/w640.jpg")
    'default/5f2c/main/w640.jpg'
    """
    fits = len(key) <= MAX_KEY and all(
        len(segment) <= MAX_SEGMENT and SEGMENT.fullmatch(segment) for segment in key.split("/")
    )
    if not fits:
        raise ValueError(
            f"Key: expected segments of [a-z0-9][a-z0-9._-]* joined by '/', without '..', with at most "
            f"{MAX_SEGMENT} characters each and {MAX_KEY} in all, got {key[:100]!r}."
        )
    return key


def check_prefix(prefix: str) -> str:
    """Return `prefix` if keys can start with it: "", a key, or a key and a "/".

    Raises:
        ValueError: no key can start with it.
    """
    if prefix:
        check_key(prefix.removesuffix("/"))
    return prefix
