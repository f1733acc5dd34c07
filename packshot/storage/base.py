"""What an object store does, whatever it keeps its bytes on.

An object is written once, whole, with its metadata; nobody ever sees a part of
it. One contract suite in `tests/storage/contract.py` holds every store to this.
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
# A file system takes names of 255 bytes; what a store adds to a name needs room too.
MAX_SEGMENT = 200
# S3 keeps 2 KB of metadata with an object; what a store adds of its own needs room too.
MAX_TAGS_BYTES = 1800

SEGMENT = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9._-]*")
_HEADER_TEXT = re.compile(r"[ -~]+")
_TAG = re.compile(r"[!-+\--~]+")


class AlreadyThere(Exception):
    """An object is under that key already. No refusal, but an answer: it was not touched."""


class DamagedObject(OSError):
    """What is under that key is not what was put there: other bytes, fewer or more, or no readable metadata.

    Of every store, and asking again gives the same; a store that breaks off is an outage, another `OSError`. Under a
    computed key the object can be made again.
    """


class NoSuchObject(KeyError):
    """No object is under that key."""


class TooManyBytes(Exception):
    """What a client put has more bytes than it was allowed."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is kept with an object and goes out with it as headers.

    Attributes:
        content_type: media type of the body.
        cache_control: the header's value; None: whoever serves the object decides.
        tags: purge tags, each of visible ASCII without a comma; 1800 bytes in all,
            a comma after each counted. They cannot be cut: a copy without its tag is
            one that no purge finds.

    Raises:
        ValueError: a value could not be sent in a header, or the tags are too many.
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
            raise ValueError(f"Tags: expected at most {MAX_TAGS_BYTES} bytes in all, got {size} of {len(self.tags)}.")


@dataclass(frozen=True, slots=True)
class Stored:
    """An object without its bytes.

    Attributes:
        size: bytes of the body.
        sha256: of the body, 64 lower-case hex digits.
        modified_at: when it was put; UTC, aware.
    """

    key: str
    size: int
    sha256: str
    metadata: Metadata
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Ticket:
    """How a client sends one object: a form with `fields` and the part `file` last, or the raw body."""

    url: str
    method: str
    fields: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class DirectAccess(Protocol):
    """Sign requests that clients send to a bucket themselves, and read the objects that they put there."""

    def sign_get(self, key: str, *, seconds: int, headers: Mapping[str, str]) -> str:
        """Return a URL that gives the object for `seconds`, with these headers in the response.

        Args:
            headers: Content-Type, Content-Disposition and Cache-Control, as S3 names its parameters:
                `ResponseContentType` and so on.
        """
        ...

    def sign_put(self, key: str, *, content_type: str, size: int, seconds: int) -> Ticket:
        """Let a client put an object of exactly `size` bytes as the raw body of a PUT."""
        ...

    def sign_post(self, key: str, *, content_type: str, most: int, seconds: int) -> Ticket:
        """Let a client put an object of 1 to `most` bytes by a form."""
        ...

    def receive(self, key: str, into: Path, *, max_bytes: int) -> tuple[int, str]:
        """Read the object that a client put into the file `into`; return its size and SHA-256.

        The object is read once, so the digest is that of the bytes in the file, even if the client puts other bytes
        at the same time.

        Raises:
            NoSuchObject: nothing is under that key.
            TooManyBytes: the object has more than `max_bytes` bytes; reading stops there.
        """
        ...


class Readable(Protocol):
    """What `Opened` reads from: a file, or the body of an HTTP answer."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class Opened:
    """An object opened for reading once, in chunks of at most `CHUNK_BYTES` bytes.

    Close it, or use it in a `with`. What was opened stays readable to its end
    even if the object is deleted meanwhile.
    """

    def __init__(self, stored: Stored, body: Readable) -> None:
        self.stored = stored
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._body.read(CHUNK_BYTES):
            yield chunk

    def close(self) -> None:
        """Let go of the file or connection. Harmless to repeat."""
        self._body.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ObjectStore(Protocol):
    """Bytes under keys. Every method may be called from any thread or process.

    Every method raises `ValueError` for a key that breaks the rules of
    `check_key`, and `OSError` for an outage: a store that is away never says
    that it has no such object. Those that read raise `DamagedObject` where the
    body is not what was put; `head` tells only what shows without the bytes. A
    key must not also be the folder of another key ("a" beside "a/b"): some stores
    cannot keep both.
    """

    @property
    def direct(self) -> DirectAccess | None:
        """Signed requests that clients send to the store itself; None: the store has none."""
        ...

    def put(self, key: str, body: bytes | Path, metadata: Metadata) -> Stored:
        """Store `body` under `key` for good; of a path the file's content, and the file stays.

        When this returns the object survives a crash of the machine.

        Raises:
            AlreadyThere: an object is under that key; it is left as it is.
        """
        ...

    def get(self, key: str) -> tuple[bytes, Stored]:
        """Return the whole body, and what belongs to it.

        Raises:
            NoSuchObject: nothing is under that key.
        """
        ...

    def head(self, key: str) -> Stored | None:
        """Return what is known of the object, None where there is none."""
        ...

    def open(self, key: str) -> Opened:
        """Open the object for reading in chunks; the caller closes it.

        Raises:
            NoSuchObject: nothing is under that key.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove the object; nothing happens where there is none."""
        ...

    def erase(self, place: str) -> int:
        """Remove an object, or of "a/b/" every one whose key begins so, beyond recovery; return how many there were.

        Every version that the store keeps goes, and what a put that broke off left
        there. What is put meanwhile may stay.
        """
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Yield every key that starts with `prefix`, in the order of its characters.

        The prefix is text, not a folder: "a/b" finds "a/b" and "a/bc/d"; "" finds all.
        Objects put or deleted meanwhile may be in it or not.
        """
        ...

    def local_path(self, key: str) -> Path | None:
        """Return a file on this machine to read the body from, for `sendfile`.

        None if the store is remote or away, or the object absent; `open` tells which.
        """
        ...

    def as_file(self, key: str) -> AbstractContextManager[Path]:
        """Give the body as a file on this machine for the block, for a render process to read.

        Nobody may write to it. A remote object is fetched for it piece by piece,
        never whole into memory, and removed again.

        Raises:
            NoSuchObject: nothing is under that key.
        """
        ...


def check_key(key: str) -> str:
    """Return `key` if an object can be named so.

    A key is segments of `[a-z0-9][a-z0-9._-]*`, each of at most 200 characters
    and without "..", joined by "/", 512 characters in all. Lower case, because
    some file systems ignore case.

    Raises:
        ValueError: it cannot.

    >>> check_key("default/5f2c/main/w640.jpg")
    'default/5f2c/main/w640.jpg'
    """
    fits = len(key) <= MAX_KEY and all(
        len(segment) <= MAX_SEGMENT and SEGMENT.fullmatch(segment) for segment in key.split("/")
    )
    if not fits:
        raise ValueError(
            f"Key: expected segments of [a-z0-9][a-z0-9._-]* joined by '/', without '..', "
            f"{MAX_SEGMENT} characters each and {MAX_KEY} in all, got {key[:100]!r}."
        )
    return key


def check_prefix(prefix: str) -> str:
    """Return `prefix` if keys can start with it: "", a key, or a key and a "/".

    Raises:
        ValueError: no key starts so.
    """
    if prefix:
        check_key(prefix.removesuffix("/"))
    return prefix
