"""Originals in a folder: those of one pack, or all of them, one after the other."""

import os
from collections.abc import Iterator
from pathlib import Path

# As files of pictures are called; anything else after a dot belongs to the name.
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".webp", ".avif", ".gif", ".tif", ".tiff", ".bmp", ".heic"}
)


def files_of(folder: Path, pack_id: str) -> dict[str, Path]:
    """Return a pack's files `<pack>/<location>`, with the extension of a picture or without, by location.

    An id, which comes from another service, does not lead out of the folder.
    """
    if pack_id in ("", ".", "..") or any(letter in pack_id for letter in "/\\\0"):
        return {}
    try:
        with os.scandir(folder / pack_id) as entries:
            found = sorted(entry.path for entry in entries if entry.is_file() and not entry.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {name_of(os.path.basename(path)): Path(path) for path in reversed(found)}


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
