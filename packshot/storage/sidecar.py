"""The sidecar file of each object in a folder store: its metadata and digest, as JSON."""

import errno
import json
import os
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from packshot.storage.base import DamagedObject, Metadata, Stored


def sidecar_path(path: Path) -> Path:
    """Return the path of the sidecar of the object at `path`.

    Its name starts with a dot, unlike any segment of a key.
    """
    return path.with_name(f".{path.name}.meta.json")


def dump_sidecar(stored: Stored) -> bytes:
    """Write a sidecar; `load_sidecar(stored.key, dump_sidecar(stored)) == stored`."""
    note = {
        "size": stored.size,
        "sha256": stored.sha256,
        "content_type": stored.metadata.content_type,
        "cache_control": stored.metadata.cache_control,
        "tags": stored.metadata.tags,
        "modified_at": stored.modified_at.isoformat(),
    }
    return json.dumps(note, indent=1).encode()


def load_sidecar(key: str, text: bytes) -> Stored:
    """Read the sidecar of the object `key`.

    Raises:
        ValueError, KeyError, TypeError: it is damaged.
    """
    note = json.loads(text)
    return Stored(
        key=key,
        size=note["size"],
        sha256=note["sha256"],
        metadata=Metadata(note["content_type"], note["cache_control"], tuple(note["tags"])),
        modified_at=datetime.fromisoformat(note["modified_at"]),
    )


def read_sidecar(key: str, path: Path, body: BinaryIO) -> Stored | None:
    """Return the sidecar's content for the open `body`; None: the object was deleted or replaced meanwhile.

    Readers take no lock. A sidecar changes only while no body exists. So if the opened file is still at its path after
    the sidecar was read, the sidecar belongs to that file.

    Raises:
        OSError: the object is damaged.
    """
    opened = os.fstat(body.fileno())
    try:
        text = sidecar_path(path).read_bytes()
    except FileNotFoundError:
        text = b""
    try:
        if not os.path.samestat(opened, path.stat()):
            return None
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        stored = load_sidecar(key, text)
    except (ValueError, KeyError, TypeError):
        raise DamagedObject(errno.EIO, "The object has no readable sidecar", str(path)) from None
    if stored.size != opened.st_size:
        raise DamagedObject(
            errno.EIO, f"The object is damaged: expected {stored.size} bytes, got {opened.st_size}", str(path)
        )
    return stored
