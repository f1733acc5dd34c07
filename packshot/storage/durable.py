"""Files and folders that are still there after a crash, of the program or the machine."""

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path


def write_synced(path: Path, chunks: Iterable[bytes], mode: int = 0o666) -> tuple[int, str]:
    """Write a new file to the disk; return its size in bytes and its SHA-256 in hex.

    The file is gone again when writing fails. Its name survives a crash only
    after `sync_folder`.

    Args:
        mode: permissions before the process's umask.

    Raises:
        FileExistsError: there is one already.
        OSError: the disk is full, or a chunk could not be read.
    """
    size, digest = 0, sha256()
    file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb")
    try:
        with file:
            for chunk in chunks:
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return size, digest.hexdigest()


def sync_folder(folder: Path) -> None:
    """Return when the names in `folder` survive a crash."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path) -> None:
    """Make `folder` and what is missing above it, each for good."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)
