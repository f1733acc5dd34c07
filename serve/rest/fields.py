"""Read a JSON object field by field: absent fields are left out, invalid ones are refused by name."""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from packshot.errors import Invalid, PackshotError
from packshot.geometry import Crop, Gravity
from packshot.model import IncludeAll
from packshot.variants.request import fold_name
from resolvers.packs import PackLocationPatch
from schema.base.scalars import MAX_LONG

T = TypeVar("T")
Reader: TypeAlias = Callable[[Any], Any]

KINDS = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list"}
GRAVITIES = {gravity.value: gravity for gravity in Gravity}
INCLUDE_ALL = {each.value: each for each in IncludeAll}
CORNERS = ("topLeftX", "topLeftY", "bottomRightX", "bottomRightY")


def read(body: Mapping[str, Any], readers: Mapping[str, tuple[str, Reader]]) -> dict[str, Any]:
    """Return the fields that the client sent, as core values by the core's names; unknown fields are ignored.

    Args:
        readers: for each field, the core's name and the function that reads the value.

    Raises:
        Invalid: a value is invalid; the error's field begins with the field's name.
    """
    found = {}
    for name, (core, reader) in readers.items():
        if name in body:
            try:
                found[core] = reader(body[name])
            except PackshotError as error:
                raise error.at(name) from None
    return found


def nullable(reader: Callable[[Any], T]) -> Callable[[Any], T | None]:
    """Return a reader that also accepts null, which resets the field."""
    return lambda value: None if value is None else reader(value)


def text(value: Any) -> str:
    """Read a text that the database can store."""
    if not isinstance(value, str):
        raise _unfit("a text", value)
    if "\0" in value:
        raise Invalid("A text must not contain NUL characters.", expected="a text without \\u0000", got=value)
    return value


def whole(value: Any) -> int:
    """Read a whole number; 640.0 counts as one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _unfit("a whole number", value)
    if abs(value) > MAX_LONG:
        raise Invalid("The number is too large.", expected=f"within ±{MAX_LONG}", got=value)
    return value


def number(value: Any) -> float:
    """Read a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _unfit("a number", value)
    return float(value)


def gravity(value: Any) -> Gravity:
    """Read a gravity in any case, with or without hyphens and underscores: `NORTH_EAST` and `north-east` are
    `northeast`.
    """
    plain = fold_name(text(value))
    if plain not in GRAVITIES:
        raise Invalid("This gravity does not exist.", expected=", ".join(GRAVITIES), got=value)
    return GRAVITIES[plain]


def include_all(value: Any) -> IncludeAll:
    """Read UNSET, TRUE or FALSE in any case, or JSON's true, false and null, where null is UNSET."""
    spelled = "unset" if value is None else str(value).lower() if isinstance(value, bool | str) else ""
    if spelled not in INCLUDE_ALL:
        raise _unfit("UNSET, TRUE or FALSE", value)
    return INCLUDE_ALL[spelled]


def crop(value: Any) -> Crop:
    """Read the four corners of a crop as numbers; the core checks later whether it lies within the original."""
    corners = dict(read(an_object(value), {name: (name, number) for name in CORNERS}))
    for name in CORNERS:
        if name not in corners:
            raise Invalid("A crop must have four numbers.", field=(name,), expected=", ".join(CORNERS), got="nothing")
    return Crop(*(corners[name] for name in CORNERS))


def an_object(value: Any) -> dict[str, Any]:
    """Read a JSON object."""
    if not isinstance(value, dict):
        raise _unfit("an object", value)
    return value


PACK_LOCATION: dict[str, tuple[str, Reader]] = {
    "cropInfo": ("crop", nullable(crop)),
    "useResizeIncludeAll": ("include_all", include_all),
    "resizeGravity": ("resize_gravity", nullable(gravity)),
}
PACK: dict[str, tuple[str, Reader]] = {
    "assetId": ("asset_id", nullable(whole)),
    "mainImageLocation": ("main_location", nullable(text)),
    "useResizeIncludeAll": ("include_all", include_all),
    "resizeGravity": ("resize_gravity", nullable(gravity)),
}
LOCATION: dict[str, tuple[str, Reader]] = {
    "label": ("label", nullable(text)),
    "width": ("width", nullable(whole)),
    "height": ("height", nullable(whole)),
    "fallback": ("fallback", nullable(text)),
    "resizeGravity": ("resize_gravity", nullable(gravity)),
    "useResizeIncludeAll": ("include_all", include_all),
}


def pack_locations(body: Mapping[str, Any]) -> list[PackLocationPatch]:
    """Return the changes of a pack's `imageLocations`; locations that are absent or null do not change.

    Raises:
        Invalid: a value is invalid.
    """
    found, said = [], body.get("imageLocations")
    try:
        for name, values in an_object({} if said is None else said).items():
            try:
                text(name)
                patch = {} if values is None else read(an_object(values), PACK_LOCATION)
            except PackshotError as error:
                raise error.at(name) from None
            if patch:
                found.append(PackLocationPatch(name, patch, at=("imageLocations", name)))
    except PackshotError as error:
        raise error.at("imageLocations") from None
    return found


def _unfit(expected: str, value: Any) -> Invalid:
    got = KINDS.get(type(value), "an object")
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        got = f"{got}, {value!r}"
    return Invalid("The value has the wrong type.", expected=expected, got=got)
