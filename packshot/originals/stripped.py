"""Originals without their metadata, for public access. The stored bytes stay as they were uploaded."""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256

from cachetools import LRUCache

from packshot.errors import PackshotError, RenderTimeout
from packshot.model import Original
from packshot.render.processes.pool import LoadShare
from packshot.render.stripping.pieces import Piece, check_pieces, length_of
from packshot.render.stripping.strip import MAX_INSERTED_BYTES, STRIP_REVISION
from packshot.site import Site, original_key
from packshot.storage.base import CHUNK_BYTES, Opened, Readable, Stored

# Memory for the lists of pieces. A photograph has about five pieces.
MAX_CACHED_BYTES = 8 * 2**20
_BYTES_PER_PIECE = 150


class StrippedOriginals:
    """Finds which pieces of originals remain without their metadata, and opens them for reading.

    A render process reads each original once to find these pieces. A cache in memory holds the lists of pieces that are
    used often, but no image data.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._cache: LRUCache[tuple[str, bool], Sequence[Piece] | PackshotError] = LRUCache(MAX_CACHED_BYTES, _size)

    def describe(self, tenant: str, original: Original, stored: Stored, *, credits: bool) -> Stored:
        """Return size and digest of an original without its metadata.

        Args:
            stored: the original as in its store.
            credits: whether its copyright and credit lines are kept.

        Raises:
            PackshotError: its metadata cannot be removed.
            QueueTimeout: no render process became free in time.
            NoSuchObject: the original is not in its store.
            OSError: its store is down.
        """
        pieces = self._find_pieces(tenant, original, credits=credits)
        # These values determine the bytes, so the bytes need not be digested.
        digest = sha256(f"stripped {STRIP_REVISION} {credits} {stored.sha256}".encode()).hexdigest()
        return replace(stored, size=length_of(pieces), sha256=digest)

    def open(self, tenant: str, original: Original, opened: Opened, *, credits: bool) -> Opened:
        """Return an opened original without its metadata; closing it closes `opened`.

        Raises:
            PackshotError, QueueTimeout, NoSuchObject, OSError: as in `describe`; `opened` is then closed.
        """
        try:
            described = self.describe(tenant, original, opened.stored, credits=credits)
            return Opened(described, _Reader(opened, self._find_pieces(tenant, original, credits=credits)))
        except BaseException:
            opened.close()
            raise

    def _find_pieces(self, tenant: str, original: Original, *, credits: bool) -> Sequence[Piece]:
        cache_key = original.sha256, credits
        with self._lock:
            pieces = self._cache.get(cache_key)
        if pieces is None:
            pieces = self._strip(tenant, original, credits=credits)
            with self._lock:
                if _size(pieces) <= MAX_CACHED_BYTES:
                    self._cache[cache_key] = pieces
        if isinstance(pieces, PackshotError):
            raise pieces
        return pieces

    def _strip(self, tenant: str, original: Original, *, credits: bool) -> Sequence[Piece] | PackshotError:
        share = LoadShare(tenant, original.sha256)
        patience = self._site.settings.render_queue_seconds
        with self._site.originals.as_file(original_key(tenant, original.sha256)) as path:
            try:
                pieces = self._site.renderer.strip(path, credits=credits, share=share, patience=patience)
            except RenderTimeout:
                raise
            except PackshotError as refusal:
                return refusal
        check_pieces(pieces, original.bytes, MAX_INSERTED_BYTES)
        return pieces


def _size(pieces: Sequence[Piece] | PackshotError) -> int:
    if isinstance(pieces, PackshotError):
        return _BYTES_PER_PIECE
    return sum(_BYTES_PER_PIECE + (len(piece) if isinstance(piece, bytes) else 0) for piece in pieces)


class _Reader(Readable):
    """Reads the pieces of an opened original in their order."""

    def __init__(self, opened: Opened, pieces: Sequence[Piece]) -> None:
        self._opened = opened
        self._chunks = _chunks(opened, pieces)
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        if not self._rest:
            self._rest = next(self._chunks, b"")
        chunk, self._rest = self._rest[:size], self._rest[size:]
        return chunk

    def close(self) -> None:
        self._opened.close()


def _chunks(opened: Opened, pieces: Sequence[Piece]) -> Iterator[bytes]:
    source = iter(opened)
    chunk, position = b"", 0  # the last chunk that was read, and its position in the original
    for piece in pieces:
        if isinstance(piece, int):
            for start in range(0, piece, CHUNK_BYTES):
                yield bytes(min(CHUNK_BYTES, piece - start))
        elif isinstance(piece, bytes):
            yield piece
        else:
            start, stop = piece
            while start < stop:
                while position + len(chunk) <= start:
                    position += len(chunk)
                    chunk = next(source)
                part = chunk[start - position : stop - position]
                start += len(part)
                yield part
    # The store verifies the digest only when the original is read to its end.
    for _ in source:
        pass
