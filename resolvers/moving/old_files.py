"""Originals in a folder: those of one pack, or all of them, one after the other."""

import os
from collections.abc import Iterator
from pathlib import Path

# As files of pictures are called; anything else after a dot belongs to the name.
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".webp", ".avif", ".gif", ".tif", ".tiff", ".bmp", ".heic"}
)


def find_file(folder: Path, pack_id: str, location: str) -> Path | None:
    """Return the file `<pack>/<location>`, with the extension of a picture or without; None: there is none.

    What comes from another service does not lead out of the folder.
    """
    if not (_is_plain(pack_id) and _is_plain(location)):
        return None
    try:
        with os.scandir(folder / pack_id) as entries:
            named = sorted(entry.path for entry in entries if name_of(entry.name) == location and entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Path(named[0]) if named else None


def name_of(file_name: str) -> str:
    """Return a file's name without the extension of a picture.

    >>> name_of("portrait.v2.JPG"), name_of("portrait.v2")
    ('portrait.v2', 'portrait.v2')
    """
    stem, extension = os.path.splitext(file_name)
    return stem if extension.lower() in EXTENSIONS else file_name


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and those within it, in no order; hidden ones and links to folders are passed over.

    However many there are, only the folders that are still to be read are held.

    Raises:
        OSError: a folder cannot be read.
    """
    waiting = [folder]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif entry.is_file():
                    yield Path(entry.path)


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and not any(letter in name for letter in "/\\\0")
