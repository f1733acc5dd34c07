"""The note beside each object of a folder: its metadata and digest, as JSON."""

import errno
import json
import os
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from packshot.storage.base import DamagedObject, Metadata, Stored


def sidecar_path(path: Path) -> Path:
    """Return where the note on the object at `path` is.

    Its name starts with a dot, and no segment of a key does.
    """
    return path.with_name(f".{path.name}.meta.json")


def dump_sidecar(stored: Stored) -> bytes:
    """Write the note; `load_sidecar(stored.key, dump_sidecar(stored)) == stored`."""
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
    """Read the note on the object `key`.

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
    """Return what belongs to the open `body`, None if it was deleted or replaced meanwhile.

    Readers take no lock. A sidecar changes only while there is no body, so one that
    was read before the very file that is open was seen in its place is that file's.

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
        raise DamagedObject(errno.EIO, f"The object has {opened.st_size} bytes instead of {stored.size}", str(path))
    return stored
