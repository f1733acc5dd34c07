"""Originals without their metadata, for clients that anybody may be; the stored bytes stay as they were uploaded."""

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

# Pieces of that many originals' bytes are kept in memory. A photograph has about five.
MAX_CACHED_BYTES = 8 * 2**20
_BYTES_A_PIECE = 150


class StrippedOriginals:
    """Finds what is left of originals without their metadata, and opens it for reading.

    A render process reads each original once to tell which pieces of it are left. The pieces are kept in memory for
    those that are asked for often; the bytes themselves never are.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._known: LRUCache[tuple[str, bool], Sequence[Piece] | PackshotError] = LRUCache(MAX_CACHED_BYTES, _size)

    def describe(self, tenant: str, original: Original, stored: Stored, *, credits: bool) -> Stored:
        """Return what is known of an original without its metadata.

        Args:
            stored: the original as it is in its store.
            credits: its copyright and credit lines are kept.

        Raises:
            PackshotError: its metadata cannot be removed.
            QueueTimeout: no render process became free in time.
            NoSuchObject: the original is not in its store.
            OSError: its store is away.
        """
        pieces = self._find(tenant, original, credits=credits)
        # The bytes follow from these, so that a digest of the bytes themselves is not needed.
        digest = sha256(f"stripped {STRIP_REVISION} {credits} {stored.sha256}".encode()).hexdigest()
        return replace(stored, size=length_of(pieces), sha256=digest)

    def open(self, tenant: str, original: Original, opened: Opened, *, credits: bool) -> Opened:
        """Return an opened original without its metadata; closing it closes `opened`.

        Raises:
            PackshotError, QueueTimeout, NoSuchObject, OSError: as `describe` does; `opened` is closed then.
        """
        try:
            described = self.describe(tenant, original, opened.stored, credits=credits)
            return Opened(described, _Reader(opened, self._find(tenant, original, credits=credits)))
        except BaseException:
            opened.close()
            raise

    def _find(self, tenant: str, original: Original, *, credits: bool) -> Sequence[Piece]:
        place = original.sha256, credits
        with self._lock:
            known = self._known.get(place)
        if known is None:
            known = self._ask(tenant, original, credits=credits)
            with self._lock:
                if _size(known) <= MAX_CACHED_BYTES:
                    self._known[place] = known
        if isinstance(known, PackshotError):
            raise known
        return known

    def _ask(self, tenant: str, original: Original, *, credits: bool) -> Sequence[Piece] | PackshotError:
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


def _size(known: Sequence[Piece] | PackshotError) -> int:
    if isinstance(known, PackshotError):
        return _BYTES_A_PIECE
    return sum(_BYTES_A_PIECE + (len(piece) if isinstance(piece, bytes) else 0) for piece in known)


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
    chunk, at = b"", 0  # the chunk that was read last, and where in the original it begins
    for piece in pieces:
        if isinstance(piece, int):
            for start in range(0, piece, CHUNK_BYTES):
                yield bytes(min(CHUNK_BYTES, piece - start))
        elif isinstance(piece, bytes):
            yield piece
        else:
            start, stop = piece
            while start < stop:
                while at + len(chunk) <= start:
                    at += len(chunk)
                    chunk = next(source)
                part = chunk[start - at : stop - at]
                start += len(part)
                yield part
    # To the end, where the store checks that it gave what was put.
    for _ in source:
        pass
