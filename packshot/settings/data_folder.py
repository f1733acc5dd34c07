"""The data folder: only its owner may read it, for any umask. Folders of earlier installations are made private, too.

One exception: a web server that sends variants itself reads them as a member of a group, `PACKSHOT_VARIANTS_GROUP`.
"""

import grp
import os
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE, S_ISVTX

from packshot.durable_files import PRIVATE_FILE, PRIVATE_FOLDER, make_folder
from packshot.settings.loading import BadSettings
from packshot.settings.settings import Settings

# Other users have no rights. The group passes through the data folder, and lists and reads only the variants.
PASSED_FOLDER, GROUP_FOLDER = 0o710, 0o2750
VARIANTS = "variants"
FILES = ("admin-token", "importing.lock", "lock")
FOLDERS = ("importing", "incoming", "marks", "originals", "private-variants", "tombstones", "uploads", VARIANTS)
DATABASE_SUFFIXES = ("", "-wal", "-shm", "-journal")
_OTHERS = 0o077


def make_private(settings: Settings) -> list[str]:
    """Create the data folder and remove all rights of other users on it; return a sentence for each failure.

    A folder that also holds other files keeps its mode, because those may be meant for other users; only Packshot's
    files in it become private. Deeper levels need no change, because other users cannot reach them.

    Raises:
        BadSettings: the group for the variants does not exist, or this user is not a member of it.
        OSError: the folder cannot be created.
    """
    make_folder(settings.data)
    group = group_of(settings)
    if group is not None:
        make_folder(settings.data / VARIANTS)
        _give_to_group(settings, group)
    failed = []
    for path, mode in _places(settings, group):
        try:
            if not path.is_symlink() and S_IMODE(path.stat().st_mode) != mode:
                path.chmod(mode)
        except FileNotFoundError:
            continue
        except OSError as error:
            failed.append(f"The permissions of {path} cannot be changed: {error.strerror}")
    return failed


def list_exposed(settings: Settings) -> Iterator[str]:
    """Yield the files and folders that other users of this machine may read or write, each with its mode."""
    group = group_of(settings)
    for path, mode in [(settings.data, _folder_mode(group)), *_contents(settings, group)]:
        try:
            found = S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            continue
        if found & _OTHERS & ~mode:
            yield f"{path} (mode {found:04o})"


def group_of(settings: Settings) -> int | None:
    """Return the id of the group that may read the variants; None: there is none.

    Raises:
        BadSettings: no group has that name.
    """
    name = settings.variants_group
    if name is None:
        return None
    try:
        return int(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise BadSettings(f"PACKSHOT_VARIANTS_GROUP: expected a group of this machine, got {name!r}") from None


def _give_to_group(settings: Settings, group: int) -> None:
    for folder in (settings.data, settings.data / VARIANTS):
        try:
            if folder.stat().st_gid != group:
                os.chown(folder, -1, group)
        except PermissionError:
            raise BadSettings(
                "PACKSHOT_VARIANTS_GROUP: expected a group of which the user that runs Packshot is a member,"
                f" got {settings.variants_group!r}"
            ) from None


def _places(settings: Settings, group: int | None) -> Iterator[tuple[Path, int]]:
    if _is_own(settings):
        yield settings.data, _folder_mode(group)
    yield from _contents(settings, group)


def _contents(settings: Settings, group: int | None) -> Iterator[tuple[Path, int]]:
    for name in FILES:
        yield settings.data / name, PRIVATE_FILE
    for name in FOLDERS:
        yield settings.data / name, GROUP_FOLDER if name == VARIANTS and group is not None else PRIVATE_FOLDER
    if (database := settings.sqlite_file) is not None:
        for suffix in DATABASE_SUFFIXES:
            yield database.with_name(database.name + suffix), PRIVATE_FILE


def _folder_mode(group: int | None) -> int:
    return PRIVATE_FOLDER if group is None else PASSED_FOLDER


def _is_own(settings: Settings) -> bool:
    """Whether the data folder holds only Packshot's files, and is not a folder for all users such as /tmp."""
    if settings.data.stat().st_mode & S_ISVTX:
        return False
    names = {path.name for path in settings.data.iterdir()} - {*FILES, *FOLDERS, "lost+found"}
    return all(name.startswith((".", "packshot.db")) for name in names)
