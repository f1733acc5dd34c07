"""The request form of an image URL: syntax only, computed without any data.

The known parameters, in one order and one spelling. Two URLs with the same request form share a CDN cache entry.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar
from urllib.parse import quote, unquote_to_bytes

from packshot.errors import Invalid
from packshot.geometry import Gravity, Mode
from packshot.variants.decimals import parse_decimal

T = TypeVar("T", bound=StrEnum)

# In CSS pixels, as everything in a URL.
MAX_BLUR = 250
MAX_DPR = 4

# Parameters that grant access; refusals and logs never repeat them.
SECRETS = ("access-key", "signature")

_WHOLE = re.compile(r"[0-9]{1,9}")
_COLOUR = re.compile(r"[0-9A-Fa-f]{6}([0-9A-Fa-f]{2})?")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# All other characters in a URL are escaped (RFC 3986); servers interpret unescaped ones differently.
_UNESCAPED = re.compile(r'[^!-"$-~]')


class FormatChoice(StrEnum):
    """A format by name, or the best format that the client accepts."""

    AUTO = "auto"
    AVIF = "avif"
    WEBP = "webp"
    JPEG = "jpeg"
    PNG = "png"


class QualityChoice(StrEnum):
    """A quality that is not a number."""

    AUTO = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestForm:
    """What a URL requests; None: not given. Field names equal the parameters' names.

    Attributes:
        rounded_corners, blur: radius and standard deviation in CSS pixels; 0: none.
        background: rrggbb or rrggbbaa, lower case.
    """

    location: str | None = None
    width: int | None = None
    height: int | None = None
    resize_mode: Mode | None = None
    resize_gravity: Gravity | None = None
    skip_crop: bool | None = None
    location_ratio: bool | None = None
    rounded_corners: int | None = None
    format: FormatChoice | None = None
    quality: int | QualityChoice | None = None
    blur: Decimal | None = None
    dpr: Decimal | None = None
    background: str | None = None

    def query(self) -> str:
        """Return the canonical query string; `parse_request` of it gives this form."""
        pairs = []
        for name in _PARAMETERS:
            value = getattr(self, name.replace("-", "_"))
            if value is not None:
                pairs.append(f"{name}={_spell(value)}")
        return "&".join(pairs)


def parse_request(query: str) -> RequestForm:
    """Parse a query string as it appears in the URL.

    Names are compared without ASCII case. The first of repeated parameters counts, unknown ones are ignored, percent
    escapes are decoded once and must be UTF-8. Enumeration values are compared without case, hyphens and underscores;
    decimal numbers are rounded to nine decimals. A CDN's edge does the same in JavaScript: infra/edge/route.js.

    Raises:
        Invalid: a broken escape, an unescaped character, or an invalid value.
    """
    found = split_query(query)
    values: dict[str, Any] = {n.replace("-", "_"): _PARAMETERS[n](found[n], n) for n in _PARAMETERS if n in found}
    return RequestForm(**values)


def split_query(query: str) -> dict[str, str]:
    """Return all parameters of a query string by their names in lower case.

    Raises:
        Invalid: a broken escape, or an unescaped character.
    """
    if odd := _UNESCAPED.search(query):
        raise Invalid("A query string must escape everything but printable ASCII.", expected="%XX", got=odd[0])
    found: dict[str, str] = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        name = _lower(_decode(name))
        found.setdefault(name, _decode(value, shown=name not in SECRETS))
    return found


def _decode(text: str, *, shown: bool = True) -> str:
    got = text if shown else None
    if _PERCENT.search(text):
        raise Invalid("A percent sign must be followed by two hex digits.", expected="%XX", got=got)
    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise Invalid("The query string must be UTF-8.", expected="UTF-8", got=got) from None


def _lower(text: str) -> str:
    # Only ASCII letters: other alphabets differ between languages, and the Kelvin sign would become k.
    return text.lower() if text.isascii() else text


def _spell(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mode):
        return _MODES[value]
    if isinstance(value, Decimal):
        # 2.50 and 2.5 are one request.
        return f"{value.normalize():f}"
    return quote(str(value), safe="")


def _refuse(name: str, expected: str, got: str) -> Invalid:
    return Invalid(f"The parameter {name} does not fit.", field=(name,), expected=expected, got=got)


def _text(value: str, name: str) -> str:
    return value


def _pixels(value: str, name: str) -> int:
    if not _WHOLE.fullmatch(value) or int(value) < 1:
        raise _refuse(name, "a whole number of pixels from 1, in plain digits", value)
    return int(value)


def _radius(value: str, name: str) -> int:
    if not _WHOLE.fullmatch(value):
        raise _refuse(name, "a whole number of pixels from 0, in plain digits", value)
    return int(value)


def _quality(value: str, name: str) -> int | QualityChoice:
    if _lower(value) == QualityChoice.AUTO:
        return QualityChoice.AUTO
    if not _WHOLE.fullmatch(value) or int(value) > 100:
        raise _refuse(name, "a whole number from 0 to 100, or auto", value)
    return int(value)


def _between(least: str, most: str) -> Callable[[str, str], Decimal]:
    def convert(value: str, name: str) -> Decimal:
        number = parse_decimal(value)
        if number is None or not Decimal(least) <= number <= Decimal(most):
            raise _refuse(name, f"a plain decimal number from {least} to {most}", value)
        return number

    return convert


def _colour(value: str, name: str) -> str:
    if not _COLOUR.fullmatch(value):
        raise _refuse(name, "rrggbb or rrggbbaa, six or eight hex digits", value)
    return value.lower()


def fold_name(text: str) -> str:
    """Normalise an enumeration value: lower case, without hyphens and underscores. The admin APIs use it too.

    >>> fold_name("North-East"), fold_name("INCLUDE_ALL")
    ('northeast', 'includeall')
    """
    return _lower(text).replace("-", "").replace("_", "")


def _choice(spellings: dict[str, T]) -> Callable[[str, str], T]:
    folded = {fold_name(spelling): value for spelling, value in spellings.items()}

    def convert(value: str, name: str) -> T:
        try:
            return folded[fold_name(value)]
        except KeyError:
            raise _refuse(name, ", ".join(spellings), value) from None

    return convert


def _flag(value: str, name: str) -> bool:
    try:
        return {"true": True, "false": False}[_lower(value)]
    except KeyError:
        raise _refuse(name, "true, false", value) from None


_MODES = {mode: "includeAll" if mode is Mode.INCLUDE_ALL else mode.value for mode in Mode}

# In the order of the canonical query string.
_PARAMETERS: dict[str, Callable[[str, str], object]] = {
    "location": _text,
    "width": _pixels,
    "height": _pixels,
    "resize-mode": _choice({spelling: mode for mode, spelling in _MODES.items()}),
    "resize-gravity": _choice({gravity.value: gravity for gravity in Gravity}),
    "skip-crop": _flag,
    "location-ratio": _flag,
    "rounded-corners": _radius,
    "format": _choice({choice.value: choice for choice in FormatChoice} | {"jpg": FormatChoice.JPEG}),
    "quality": _quality,
    "blur": _between("0", str(MAX_BLUR)),
    "dpr": _between("0.5", str(MAX_DPR)),
    "background": _colour,
}
assert {name.replace("-", "_") for name in _PARAMETERS} == {field.name for field in fields(RequestForm)}
