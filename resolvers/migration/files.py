"""Originals in a folder: the files of one pack, or all files."""

import os
from collections.abc import Iterator
from pathlib import Path

# Extensions of image files. Any other text after a dot belongs to the name.
EXTENSIONS = frozenset(
    {".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".webp", ".avif", ".gif", ".tif", ".tiff", ".bmp", ".heic"}
)


def files_of(folder: Path, pack_id: str) -> dict[str, Path]:
    """Return the files `<pack>/<location>` of a pack by location, with or without the extension of an image.

    The id comes from another service. It cannot lead out of the folder.
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
    """Return a file's name without the extension of an image.

    >>> name_of("portrait.v2.JPG"), name_of("portrait.v2")
    ('portrait.v2', 'portrait.v2')
    """
    stem, extension = os.path.splitext(file_name)
    return stem if extension.lower() in EXTENSIONS else file_name


def walk(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and its subfolders, in no order. Hidden files and links to folders are skipped.

    Only the names of unread folders are held in memory, however many files there are.

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
