"""The admin's bearer token: from the settings, or generated once and kept in the data folder."""

import os
import secrets
from pathlib import Path

from packshot.durable_files import make_folder, sync_folder, write_synced
from packshot.settings.loading import BadSettings
from packshot.settings.settings import Settings
from packshot.settings.types import STRONG_SECRET, VISIBLE, is_guessable


def admin_token(settings: Settings) -> str:
    """Return the admin's bearer token. If none is configured, it is generated once and kept in the data folder.

    Processes that start together use the same token.

    Raises:
        BadSettings: the file that keeps it contains no token, or a weak one.
        OSError: the file cannot be read or written.
    """
    if settings.admin_token is not None:
        return settings.admin_token.get_secret_value()
    path = settings.data / "admin-token"
    if not path.exists():
        _make_token(path)
    token = path.read_text(encoding="utf-8", errors="replace").strip()
    if not VISIBLE.fullmatch(token):
        raise BadSettings(f"{path}: expected visible ASCII characters without spaces, got something else")
    if is_guessable(token):
        raise BadSettings(
            f"{path}: expected {STRONG_SECRET}, got a value that is not shown; delete the file to generate a new token"
        )
    return token


def _make_token(path: Path) -> None:
    """Write a new token that only the owner may read, unless another process wrote one first."""
    make_folder(path.parent)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_synced(draft, [f"{secrets.token_urlsafe(32)}\n".encode()], mode=0o600)
    try:
        # The complete file is linked, so that no process reads a part of it.
        os.link(draft, path)
    except FileExistsError:
        return
    finally:
        draft.unlink()
        sync_folder(path.parent)
