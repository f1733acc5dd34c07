"""The request form of `picture.json`: location, widths and formats that a page requests; syntax only."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from packshot.errors import Invalid
from packshot.model import Format
from packshot.variants.request import fold_name, split_query

_FORMATS = {format.value: format for format in Format} | {"jpg": Format.JPEG}


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureForm:
    """The request of a `picture.json` URL; None: the parameter is absent. Field names equal the parameters' names.

    Attributes:
        widths: in pixels, ascending, without duplicates.
        formats: in alphabetical order, without duplicates.
        sizes: the HTML attribute `sizes`.
    """

    location: str | None = None
    widths: tuple[int, ...] | None = None
    formats: tuple[Format, ...] | None = None
    sizes: str | None = None

    def query(self) -> str:
        """Return the canonical query string; `parse_picture_request` of it gives this form."""
        pairs = []
        for name in _PARAMETERS:
            value = getattr(self, name)
            if value is not None:
                text = value if isinstance(value, str) else ",".join(map(str, value))
                pairs.append(f"{name}={quote(text, safe=',')}")
        return "&".join(pairs)


def parse_picture_request(query: str) -> PictureForm:
    """Parse a query string as it appears in the URL, by the rules of `packshot.variants.request.parse_request`.

    Raises:
        Invalid: a broken escape, or an invalid value.
    """
    found = split_query(query)
    return PictureForm(**{name: convert(found[name], name) for name, convert in _PARAMETERS.items() if name in found})


def _text(value: str, name: str) -> str:
    return value


def _widths(value: str, name: str) -> tuple[int, ...]:
    parts = value.split(",")
    if not all(part.isascii() and part.isdecimal() and len(part) <= 9 and int(part) >= 1 for part in parts):
        raise Invalid(
            f"The parameter {name} does not fit.",
            field=(name,),
            expected="whole numbers of pixels from 1, in plain digits, with commas between them",
            got=value,
        )
    return tuple(sorted({int(part) for part in parts}))


def _formats(value: str, name: str) -> tuple[Format, ...]:
    parts = [fold_name(part) for part in value.split(",")]
    if not set(parts) <= set(_FORMATS):
        raise Invalid(
            f"The parameter {name} does not fit.",
            field=(name,),
            expected=f"one or more of {', '.join(_FORMATS)}, separated by commas",
            got=value,
        )
    return tuple(sorted({_FORMATS[part] for part in parts}))


# In the order of the canonical query string.
_PARAMETERS: dict[str, Callable[[str, str], Any]] = {
    "location": _text,
    "widths": _widths,
    "formats": _formats,
    "sizes": _text,
}
