"""Objects as files in a folder: the key is the path, and a sidecar file holds the metadata.

A crash at any moment leaves no part of an object visible. An object exists when its body exists. The body is linked
into place last and removed first; a sidecar without a body is left by a put or delete that was killed.
"""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from stat import S_ISDIR
from typing import BinaryIO, Self
from uuid import uuid4

from packshot.durable_files import PRIVATE_FILE, PRIVATE_FOLDER, make_folder, sync_folder, write_synced
from packshot.storage.base import (
    CHUNK_BYTES,
    SEGMENT,
    AlreadyThere,
    DamagedObject,
    Metadata,
    NoSuchObject,
    Opened,
    Stored,
    check_key,
    check_prefix,
)
from packshot.storage.sidecar import dump_sidecar, read_sidecar, sidecar_path

STALE_SECONDS = 3600.0


class FolderStore:
    """An `ObjectStore` in one folder of one machine.

    Threads and processes may share the folder. It needs a file system with hard links and `flock`; use S3 instead of a
    network share between machines. If the root is missing, or is another folder than at start (a mount point without
    its mount), every access is an outage, `OSError`: its objects must not be taken for missing.

    Args:
        root: the folder; created if missing. Nothing else should write to it.
        for_group: whether the folder's group may read the objects, besides its owner. Other users never may.
    """

    direct: None = None

    def __init__(self, root: Path, *, for_group: bool = False) -> None:
        self.root = root.absolute()
        self._temp = self.root / ".tmp"
        self._locks = self.root / ".locks"
        # The set-group-ID bit: new files in a folder get the folder's group.
        self._folder_mode, self._file_mode = (0o2750, 0o640) if for_group else (PRIVATE_FOLDER, PRIVATE_FILE)
        for folder in (self._temp, self._locks):
            make_folder(folder, self._folder_mode)

    def put(self, key: str, body: bytes | Path, metadata: Metadata) -> Stored:
        """Store `body` under `key` permanently. If `body` is a path, its content is copied and the file stays.

        Raises:
            AlreadyThere: an object exists under that key; it stays unchanged.
            ValueError: `key` breaks the rules, or is the folder of another key, or lies below an object.
            OSError: the disk is full, or another fault of the file system.
        """
        path = self._path(key)
        with self._locked(key):  # First check, to avoid writing a body that already exists.
            _refuse_taken(path)
        temp = self._new_temp()
        size, digest = write_synced(temp, _chunks(body), self._file_mode)
        try:
            stored = Stored(key, size, digest, metadata, datetime.now(UTC))
            with self._locked(key):
                _refuse_taken(path)  # Again: another process may have put it meanwhile.
                make_folder(path.parent, self._folder_mode)
                self._put_sidecar(path, stored)
                _link(temp, path)
                sync_folder(path.parent)
        finally:
            temp.unlink(missing_ok=True)
        return stored

    def get(self, key: str) -> tuple[bytes, Stored]:
        file, stored = self._open(key)
        with _Verified(file, stored) as body:
            return body.read(-1), stored

    def head(self, key: str) -> Stored | None:
        try:
            file, stored = self._open(key)
        except NoSuchObject:
            return None
        file.close()
        return stored

    def open(self, key: str) -> Opened:
        file, stored = self._open(key)
        return Opened(stored, _Verified(file, stored))

    def delete(self, key: str) -> None:
        """Delete the object, and what a killed put left of it; its folder may stay."""
        path = self._path(key)
        with self._locked(key):
            for file in (path, sidecar_path(path)):
                if file.is_file():
                    os.unlink(file)
                    sync_folder(file.parent)

    def erase(self, place: str) -> int:
        """Delete an object, or for "a/b/" that folder with everything in it; return how many objects existed."""
        if not place.endswith("/"):
            was_there = self.local_path(place) is not None
            self.delete(place)
            return int(was_there)
        folder = self._path(place.removesuffix("/"))
        keys = list(self.list(place))
        for key in keys:
            self.delete(key)
        # What remains is sidecars of killed puts, and folders; sorted so that the innermost come first.
        for left in sorted(folder.rglob("*"), reverse=True):
            with suppress(FileNotFoundError):
                left.rmdir() if left.is_dir() else left.unlink()
        with suppress(FileNotFoundError):
            folder.rmdir()
            sync_folder(folder.parent)
        return len(keys)

    def list(self, prefix: str) -> Iterator[str]:
        """Yield every key that starts with `prefix`, in the order of its characters.

        Holds the names of one folder at a time in memory.
        """
        above, slash, start = check_prefix(prefix).rpartition("/")
        self._check_here()
        return _walk(self.root / above, above + slash, start)

    def local_path(self, key: str) -> Path | None:
        """Return the file of the body; None: it does not exist."""
        path = self._path(key)
        return path if path.is_file() else None

    @contextmanager
    def as_file(self, key: str) -> Iterator[Path]:
        """Provide the file of the body for the block; it must not be written to.

        Raises:
            NoSuchObject: no object exists under that key.
        """
        file, stored = self._open(key)
        with _Verified(file, stored) as body:
            while body.read(CHUNK_BYTES):
                pass
        yield self._path(key)

    def sweep(self) -> int:
        """Delete temporary files of killed puts that are older than an hour; return how many.

        The owner of the folder calls it at start.
        """
        removed = 0
        oldest = time.time() - STALE_SECONDS
        for temp in self._temp.iterdir():
            try:
                if temp.lstat().st_mtime < oldest:
                    temp.unlink()
                    removed += 1
            except FileNotFoundError:
                continue  # Its put has just ended, or another process deleted it.
        return removed

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def _check_here(self) -> None:
        # Called only when an object was not found. Checking the root is not enough: a mount point still exists without
        # its mount. The folder of locks is the store's own and exists from the start.
        if not self._locks.is_dir():
            found = "a folder without the store's .locks" if self.root.is_dir() else "no folder"
            raise OSError(errno.EIO, f"The store is not available: expected its folder, got {found}", str(self.root))

    def _open(self, key: str) -> tuple[BinaryIO, Stored]:
        path = self._path(key)
        while True:
            try:
                file = path.open("rb")
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                self._check_here()
                raise NoSuchObject(key) from None
            try:
                stored = read_sidecar(key, path, file)
            except BaseException:
                file.close()
                raise
            if stored is not None:
                return file, stored
            file.close()

    @contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        # A fixed number of lock files: one file per key could never be removed safely.
        name = sha256(key.encode()).hexdigest()[:2]
        lock = os.open(self._locks / name, os.O_RDWR | os.O_CREAT, PRIVATE_FILE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            # Closing alone would not unlock while a forked child holds a copy.
            fcntl.flock(lock, fcntl.LOCK_UN)
            os.close(lock)

    def _put_sidecar(self, path: Path, stored: Stored) -> None:
        temp = self._new_temp()
        write_synced(temp, [dump_sidecar(stored)])
        os.replace(temp, sidecar_path(path))
        # Synced before the body is linked, so that even a power cut leaves no body without a sidecar.
        sync_folder(path.parent)

    def _new_temp(self) -> Path:
        return self._temp / uuid4().hex


class _Verified:
    """A body that is digested while it is read; the digest is compared before the last bytes are returned."""

    def __init__(self, file: BinaryIO, stored: Stored) -> None:
        self._file = file
        self._stored = stored
        self._left = stored.size
        self._digest = sha256()

    def read(self, size: int, /) -> bytes:
        chunk = self._file.read(size)
        self._left -= len(chunk)
        self._digest.update(chunk)
        is_whole = self._left == 0 and self._digest.hexdigest() == self._stored.sha256
        if self._left < 0 or (not chunk and self._left) or (chunk and not self._left and not is_whole):
            raise DamagedObject(errno.EIO, "The object's bytes are not those that were put", str(self._file.name))
        return chunk

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _chunks(body: bytes | Path) -> Iterator[bytes]:
    if isinstance(body, bytes):
        yield body
        return
    with body.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _refuse_taken(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise ValueError(f"Key: expected one that is not below another object, got {path.name!r} below one.") from None
    if S_ISDIR(status.st_mode):
        raise ValueError(f"Key: expected one that is not a folder of other keys, got {path.name!r}.")
    raise AlreadyThere


def _link(temp: Path, path: Path) -> None:
    try:
        os.link(temp, path)
    except FileExistsError:
        # This is no put of the same key, whose lock is held. It is a folder, or a file of another program.
        _refuse_taken(path)
        raise


def _walk(folder: Path, above: str, start: str) -> Iterator[str]:
    """Yield the keys in `folder` whose names begin with `start`; each key is `above` and the name."""
    try:
        found = [(entry.name, entry.is_dir()) for entry in os.scandir(folder) if entry.name.startswith(start)]
    except (FileNotFoundError, NotADirectoryError):
        return
    # A folder sorts by its keys, which continue with a slash: "a-b" comes before "a/b".
    for name in sorted(name + "/" * is_folder for name, is_folder in found):
        if not SEGMENT.fullmatch(name.removesuffix("/")):
            continue  # A sidecar, .tmp, .locks, or a foreign file.
        if name.endswith("/"):
            yield from _walk(folder / name, above + name, "")
        else:
            yield above + name
