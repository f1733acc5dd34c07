"""The owner of the data folder. Root's commands run as that user, so that the service can use the files they leave."""

import errno
import os
import pwd
import sys
from collections.abc import Iterator
from pathlib import Path
from stat import S_ISREG

from packshot.settings.data_folder import DATABASE_SUFFIXES, FILES, FOLDERS
from packshot.settings.loading import BadSettings
from packshot.settings.settings import Settings


def become_owner(settings: Settings) -> str | None:
    """Change a process of root to the user that owns the installation; return a sentence about it, None: no change.

    The process cannot become root again. Its render processes run as that user, too.

    Raises:
        BadSettings: that user may not read Python or this program.
        PermissionError: this process of root may not change its user.
    """
    if os.geteuid() != 0 or (place := _owned_place(settings)) is None:
        return None
    found = place.stat()
    if found.st_uid == 0:
        return None
    try:
        _change_user(found.st_uid, found.st_gid)
    except PermissionError as error:
        # This happens in a container without the capabilities for it.
        raise PermissionError(errno.EPERM, "Root may not become the owner", str(place)) from error
    owner = name_of(found.st_uid)
    # The process imports more modules later, and render processes start Python again.
    for program in (sys.executable, os.__file__, __file__):
        if not os.access(program, os.R_OK):
            raise BadSettings(
                f"{place} belongs to {owner}, who may not read {os.path.realpath(program)}, so root cannot run this"
                " command as that user: install Python and Packshot where that user can read them"
            )
    return f"{place} belongs to {owner}, so this command runs as that user, not as root"


def list_foreign(settings: Settings) -> Iterator[Path]:
    """Yield files and folders of the installation that belong to another user than that of this process.

    Searches the first level of the data folder, and in each store its first level, its locks and its checks.
    """
    user = os.geteuid()
    for path in _places(settings):
        try:
            found = path.lstat()
        except (FileNotFoundError, PermissionError):
            continue  # It was removed just now, or its folder is yielded itself.
        # A folder on another file system may be a mount point, and the mount decides its owner.
        if found.st_uid != user and (S_ISREG(found.st_mode) or not path.is_mount()):
            yield path


def name_of(user: int) -> str:
    """Return the name of a user, or the user's number if there is no name on this machine."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"


def _change_user(user: int, group: int) -> None:
    try:
        known = pwd.getpwuid(user)
    except KeyError:
        # A user of another machine or container has no groups here.
        os.setgroups([group])
        os.setgid(group)
    else:
        os.initgroups(known.pw_name, known.pw_gid)
        os.setgid(known.pw_gid)
    os.setuid(user)


def _owned_place(settings: Settings) -> Path | None:
    """Return the file or folder whose owner runs the installation: its database, the incoming folder, or the data
    folder.
    """
    database = settings.sqlite_file
    places = [*([database] if database is not None else []), settings.data / "incoming", settings.data]
    return next((place for place in places if place.exists()), None)


def _places(settings: Settings) -> Iterator[Path]:
    for name in FILES:
        yield settings.data / name
    if (database := settings.sqlite_file) is not None:
        for suffix in DATABASE_SUFFIXES:
            yield database.with_name(database.name + suffix)
    for name in FOLDERS:
        folder = settings.data / name
        yield folder
        yield from _within(folder)
        for inner in (".locks", ".tmp", "packshot.check"):
            yield from _within(folder / inner)


def _within(folder: Path) -> Iterator[Path]:
    try:
        yield from sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
