"""Files and folders that are still there after a crash, of the program or the machine."""

import os
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

# What only its owner may read.
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


def private(path: str, flags: int) -> int:
    """Open a file, which only its owner may read if it is new; an `opener` for `open`."""
    return os.open(path, flags, PRIVATE_FILE)


def write_synced(path: Path, chunks: Iterable[bytes], mode: int = PRIVATE_FILE) -> tuple[int, str]:
    """Write a new file to the disk; return its size in bytes and its SHA-256 in hex.

    The file is gone again when writing fails. Its name survives a crash only
    after `sync_folder`.

    Args:
        mode: permissions, whatever the process's umask is.

    Raises:
        FileExistsError: there is one already.
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
    """Return when the names in `folder` survive a crash."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path, mode: int = PRIVATE_FOLDER) -> None:
    """Make `folder` and what is missing above it, each for good.

    Args:
        mode: permissions of those that are made, whatever the process's umask is.
    """
    if folder.is_dir():
        return
    make_folder(folder.parent, mode)
    try:
        folder.mkdir(PRIVATE_FOLDER)
    except FileExistsError:
        return  # Somebody else was faster.
    if mode != PRIVATE_FOLDER:
        folder.chmod(mode)
    sync_folder(folder.parent)
