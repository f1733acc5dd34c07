"""Write files and folders that survive a crash of the process or the machine."""

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

# Permissions of files that only their owner can read.
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


def private(path: str, flags: int) -> int:
    """Open a file; a new one is readable only by its owner. It is an `opener` for `open`."""
    return os.open(path, flags, PRIVATE_FILE)


def write_synced(path: Path, chunks: Iterable[bytes], mode: int = PRIVATE_FILE) -> tuple[int, str]:
    """Write a new file to the disk; return its size in bytes and its SHA-256 in hex.

    The file is removed again if writing fails. Its name survives a crash only after `sync_folder`.

    Args:
        mode: permissions, regardless of the umask.

    Raises:
        FileExistsError: the file exists already.
        OSError: the disk is full, or a chunk could not be read.
    """
    size, digest = 0, sha256()
    file = open(path, "xb", opener=private)  # noqa: SIM115 - closed below, before the file is removed on an error
    try:
        with file:
            if mode != PRIVATE_FILE:
                os.fchmod(file.fileno(), mode)
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
    """Flush the names in `folder` to the disk, so that they survive a crash."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path, mode: int = PRIVATE_FOLDER) -> None:
    """Create `folder` and its missing parents durably.

    Args:
        mode: permissions of the created folders, regardless of the umask.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent, mode)
    try:
        folder.mkdir(PRIVATE_FOLDER)
    except FileExistsError:
        return  # another process created it first
    if mode != PRIVATE_FOLDER:
        folder.chmod(mode)
    sync_folder(folder.parent)
