"""Read the settings from the PACKSHOT_* environment variables, and name everything that is wrong with them at once."""

import os
from collections.abc import Mapping
from difflib import get_close_matches

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from packshot.settings.conflicts import conflicts
from packshot.settings.settings import Settings
from packshot.settings.types import PREFIX

# A database URL may hold a password.
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
    """The installation is set up wrongly. Each fault is one line: variable, expected, got.

    Attributes:
        faults: the lines, by name of the variable.
    """

    def __init__(self, *faults: str) -> None:
        super().__init__(*faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(self.faults)


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ`, the process's own environment by default.

    Names count as they are spelled, in capitals; an empty value is no value.

    Raises:
        BadSettings: variables that are unknown or have bad values, all of them in one error.
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
    # Raised out here, since inside it would carry pydantic's error, and that the values.
    if settings is None or faults:
        raise BadSettings(*(faults[name] for name in sorted(faults)))
    return settings


def _unknown(name: str, known: set[str]) -> str:
    # Compared without the prefix, which would make everything look alike.
    rest = sorted(variable.removeprefix(PREFIX) for variable in known)
    nearest = get_close_matches(name.upper().removeprefix(PREFIX), rest, n=1, cutoff=0.5)
    hint = f", perhaps {PREFIX}{nearest[0]}" if nearest else ""
    return f"{name}: expected the name of a setting{hint}, got an unknown one"


def _fault(error: ErrorDetails) -> tuple[str, str]:
    field = str(error["loc"][0])
    variable = PREFIX + field.upper()
    extra = Settings.model_fields[field].json_schema_extra
    expected = extra["expected"] if isinstance(extra, dict) else error["msg"]
    # An address may hold a password wherever one is mistyped.
    is_secret = field in _SECRET or "@" in str(error["input"])
    got = "a value that is not shown" if is_secret else repr(str(error["input"])[:100])
    return variable, f"{variable}: expected {expected}, got {got}"
