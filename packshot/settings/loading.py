"""Read the settings from the PACKSHOT_* environment variables, and report all faults in them together."""

import os
from collections.abc import Mapping
from difflib import get_close_matches

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from packshot.settings.conflicts import conflicts
from packshot.settings.settings import Settings
from packshot.settings.types import PREFIX

# A database URL may contain a password.
_SECRET = (
    "access_secret",
    "admin_token",
    "basic_users",
    "database_url",
    "fastly_token",
    "jwt_secret",
    "live_token_secret",
    "redis_url",
)


class BadSettings(Exception):
    """The installation has bad settings. Each fault is one line: variable, expected, got.

    Attributes:
        faults: the lines in the order of the variables' names.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(self.faults)


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ`; by default from the environment of the process.

    Names are case-sensitive, in capitals. An empty value counts as not set.

    Raises:
        BadSettings: some variables are unknown or have bad values; one error names all of them.
    """
    given = {
        name: value
        for name, value in (os.environ if environ is None else environ).items()
        if name.upper().startswith(PREFIX)
    }
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    faults = {name: _unknown(name, known) for name in given.keys() - known}
    source = EnvSettingsSource(Settings)
    source.env_vars = {name.lower(): value for name, value in given.items() if name in known and value}
    settings = None
    try:
        settings = Settings(**source())
    except ValidationError as refused:
        faults |= dict(_fault(error) for error in refused.errors())
    if settings is not None:
        faults |= conflicts(settings)
    # Raised outside of `except`: there, the error would carry pydantic's error, which contains the values.
    if settings is None or faults:
        raise BadSettings(*(faults[name] for name in sorted(faults)))
    return settings


def _unknown(name: str, known: set[str]) -> str:
    # Compared without the prefix, which would make all names similar.
    rest = sorted(variable.removeprefix(PREFIX) for variable in known)
    nearest = get_close_matches(name.upper().removeprefix(PREFIX), rest, n=1, cutoff=0.5)
    hint = f", perhaps {PREFIX}{nearest[0]}" if nearest else ""
    return f"{name}: expected the name of a setting{hint}, got an unknown one"


def _fault(error: ErrorDetails) -> tuple[str, str]:
    field = str(error["loc"][0])
    variable = PREFIX + field.upper()
    extra = Settings.model_fields[field].json_schema_extra
    expected = extra["expected"] if isinstance(extra, dict) else error["msg"]
    # A mistyped URL may contain a password.
    is_secret = field in _SECRET or "@" in str(error["input"])
    got = "a value that is not shown" if is_secret else repr(str(error["input"])[:100])
    return variable, f"{variable}: expected {expected}, got {got}"
