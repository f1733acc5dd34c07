"""Types of settings: each type checks a value, and its text says what is expected."""

import re
from collections.abc import Callable
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from packshot.model import NAME
from packshot.network.fetch import parse_allowed
from packshot.settings.subjects import is_acceptable_subject

PREFIX = "PACKSHOT_"
# The longest side of a JPEG or AVIF image.
MAX_SIDE = 65_535
# First segments of the application's own paths.
OWN_PATHS = (
    "adminapi",
    "api",
    "graphql",
    "healthz",
    "i",
    "images",
    "metrics",
    "originals",
    "readyz",
    "reports",
    "robots.txt",
    "uploads",
)
# A secret below these limits can be guessed.
MIN_SECRET_LENGTH = 24
MIN_SECRET_SYMBOLS = 8
# A secret in which a larger share of characters continues a sequence, as in the alphabet, was typed by hand.
MAX_ROW_SHARE = 0.8
# Placeholders in guides, and typical passwords.
_TYPED_BY_HAND = re.compile(
    "change.?(me|this|it)|password|passwort|replace|placeholder|example|your.?(own|secret|token|admin|key)|qwert|asdfg"
    "|letmein|supersecret",
    re.IGNORECASE,
)
STRONG_SECRET = (
    f"at least {MIN_SECRET_LENGTH} characters that cannot be guessed, {MIN_SECRET_SYMBOLS} of them different;"
    " `python3 -c 'import secrets; print(secrets.token_urlsafe(32))'` prints such a value"
)
VISIBLE = re.compile(r"[!-~]+")
_ORIGIN = re.compile(r"\*|https?://(\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9._-]{0,250}[a-z0-9])?)(:[0-9]{1,5})?")
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,250}[A-Za-z0-9])?")
_USER = re.compile(r"[^:\s]{1,255}:\$argon2[!-~]+")


def _only(fits: Callable[[Any], object]) -> AfterValidator:
    def check(value: Any) -> Any:
        if not fits(value):
            raise ValueError("does not fit")  # Never shown: a fault says what its setting expects.
        return value

    return AfterValidator(check)


def _public_url(value: str) -> str:
    parts = urlsplit(value)
    # A name and password would be sent to every client that gets the URL.
    if parts.scheme not in ("http", "https") or not parts.netloc or re.search(r"[\s?#@]", value):
        raise ValueError("does not fit")
    return value.rstrip("/")


def _database_url(value: str) -> str:
    from sqlalchemy import make_url

    if not value.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError("does not fit")
    try:
        make_url(value)
    except Exception:  # noqa: BLE001 - its kind is unknown, and its text may contain the password
        raise ValueError("does not fit") from None
    return value


def _is_user(user: str) -> bool:
    return _USER.fullmatch(user) is not None and is_acceptable_subject(user.partition(":")[0])


def _redis_url(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    number = parts.path.strip("/")
    if parts.scheme not in ("redis", "rediss") or (number and not number.isdecimal()) or parts.port == 0:
        raise ValueError("does not fit")
    return value


def _networks(value: str) -> str:
    for item in split_list(value):
        ip_network(item)
    return value


def _allowed(value: str) -> str:
    parse_allowed(value)
    return value


def is_short(secret: str) -> bool:
    """Whether a secret has too few characters, or too few different ones."""
    return len(secret) < MIN_SECRET_LENGTH or len(set(secret)) < MIN_SECRET_SYMBOLS


def is_guessable(secret: str) -> bool:
    """Whether a secret is too short or too regular to be safe, or is a placeholder of a guide.

    >>> is_guessable("x" * 40), is_guessable("app-0123456789abcdef0123")
    (True, False)
    """
    if is_short(secret):
        return True
    repeats = any(secret == (secret[:n] * len(secret))[: len(secret)] for n in range(1, len(secret) // 2 + 1))
    steps = [ord(after) - ord(before) for before, after in pairwise(secret)]
    # For example the alphabet.
    is_row = sum(step in (-1, 0, 1) for step in steps) > MAX_ROW_SHARE * len(steps)
    return repeats or is_row or _TYPED_BY_HAND.search(secret) is not None


def split_list(value: str | None) -> list[str]:
    """Return the items of a comma-separated setting."""
    return [item.strip() for item in (value or "").split(",") if item.strip()]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _live_prefix(value: object) -> object:
    return None if value == "off" else value


def _expected(text: str) -> Any:
    return Field(json_schema_extra={"expected": text})


# A "?" would start the query of the SQLite URL.
Folder = Annotated[Path, _only(lambda path: "?" not in str(path)), _expected("a folder's path without '?'")]
DatabaseUrl = Annotated[
    Annotated[str, AfterValidator(_database_url)] | None,
    _expected("sqlite:///path or postgresql+psycopg://user:password@host/name"),
]
RedisUrl = Annotated[
    Annotated[SecretStr, AfterValidator(_redis_url)] | None,
    _expected("redis://host:port/number"),
]
Bucket = Annotated[
    Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] | None, _expected("a bucket's name")
]
Endpoint = Annotated[Annotated[str, AfterValidator(_public_url)] | None, _expected("https://host without a query")]
Endpoints = Annotated[
    Annotated[str, _only(lambda value: [_public_url(url) for url in split_list(value)])] | None,
    _expected("URLs, separated by commas, such as http://10.0.0.5:6081"),
]
Delivery = Annotated[
    Literal["stream", "redirect", "accel"], BeforeValidator(_lower), _expected("stream, redirect or accel")
]
UploadBy = Annotated[
    Literal["presigned_post", "presigned_put", "one_time_token"],
    BeforeValidator(_lower),
    _expected("presigned_post, presigned_put or one_time_token"),
]
InternalPath = Annotated[
    Annotated[str, Field(pattern=r"^/([A-Za-z0-9._~-]+/)+$")],
    _expected("a path that starts and ends with '/', such as /_variants/"),
]
# No path of another part of the application.
LivePrefix = Annotated[
    Annotated[
        str,
        Field(pattern=r"^(/[A-Za-z0-9._~-]+)+$"),
        _only(lambda path: path.split("/")[1].lower() not in OWN_PATHS),
    ]
    | None,
    BeforeValidator(_live_prefix),
    _expected("a path that no other part of the application uses, such as /live, or off"),
]
Cdn = Annotated[
    Literal["none", "cloudfront", "fastly", "varnish"],
    BeforeValidator(_lower),
    _expected("none, cloudfront, fastly or varnish"),
]
PurgeBy = Annotated[Literal["tags", "paths"], BeforeValidator(_lower), _expected("tags or paths")]
# The id becomes a part of a URL.
Id = Annotated[Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,64}$")] | None, _expected("an id of letters and digits")]
Group = Annotated[
    Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}$")] | None, _expected("the name of a group")
]
Region = Annotated[str | None, _expected("a region's name")]
PublicUrl = Annotated[
    Annotated[str, AfterValidator(_public_url)] | None, _expected("https://host/path without a query")
]
Name = Annotated[str, _only(NAME.fullmatch), _expected("1 to 63 of a-z, 0-9 and '-', not starting with '-'")]
Token = Annotated[
    Annotated[SecretStr, _only(lambda token: VISIBLE.fullmatch(token.get_secret_value()))] | None,
    _expected("visible ASCII characters without spaces"),
]
Domain = Annotated[
    Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?$")] | None,
    _expected("a domain's name in lower case, such as images.example.com"),
]
HostNames = Annotated[
    Annotated[str, _only(lambda value: all(map(_HOST_NAME.fullmatch, split_list(value))))] | None,
    _expected("host names without ports, separated by commas, such as packshot.internal"),
]
Origins = Annotated[
    Annotated[str, _only(lambda value: all(map(_ORIGIN.fullmatch, split_list(value))))] | None,
    _expected("* or origins without a path, separated by commas, such as https://cms.example.com"),
]
# A shorter key can be guessed from one token (RFC 7518, section 3.2).
Key = Annotated[
    Annotated[SecretStr, _only(lambda key: len(key.get_secret_value().encode()) >= 32)] | None,
    _expected("at least 32 bytes"),
]
Users = Annotated[
    Annotated[SecretStr, _only(lambda users: all(map(_is_user, users.get_secret_value().split())))] | None,
    _expected(
        "name:hash pairs, as `packshot basic-user NAME` prints them, separated by blanks;"
        " no reserved name, such as admin"
    ),
]
Networks = Annotated[
    Annotated[str, AfterValidator(_networks)] | None, _expected("addresses or networks, separated by commas")
]
Hosts = Annotated[
    Annotated[str, AfterValidator(_allowed)] | None, _expected("hosts, addresses or networks, separated by commas")
]
# Wrong secrets are slowed down by address, so the 15 characters of the old service's secrets are enough.
LiveSecret = Annotated[
    Annotated[SecretStr, _only(lambda secret: 12 <= len(secret.get_secret_value()) <= 1024)] | None,
    _expected("12 to 1024 characters"),
]
LiveOriginals = Annotated[
    Literal["stripped", "verbatim", "off"], BeforeValidator(_lower), _expected("stripped, verbatim or off")
]
LiveOriginalsScope = Annotated[Literal["live", "all"], BeforeValidator(_lower), _expected("live or all")]
Text = Annotated[str | None, _expected("a text")]
Count = Annotated[int, Field(ge=1), _expected("a whole number, 1 or more")]
Amount = Annotated[int, Field(ge=0), _expected("a whole number, 0 or more")]
OptionalCount = Annotated[Annotated[int, Field(ge=1)] | None, _expected("a whole number, 1 or more")]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE), _expected(f"a whole number of pixels from 1 to {MAX_SIDE}")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False), _expected("a number of seconds, 0 or more")]
Duration = Annotated[float, Field(gt=0, allow_inf_nan=False), _expected("a number of seconds, more than 0")]
Days = Annotated[float, Field(ge=0, le=36_500), _expected("a number of days, 0 or more")]
Switch = Annotated[bool, _expected("on or off")]
Level = Annotated[
    Literal["debug", "info", "warning", "error"], BeforeValidator(_lower), _expected("debug, info, warning or error")
]
