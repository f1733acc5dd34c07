"""The documents of the old image service, converted to Packshot's terms. All functions are pure.

The documents come from a service that may send anything. A part that is not valid is refused, and the rest is used.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from packshot.catalog.configuration.locations import MAX_FALLBACK_LOCATIONS
from packshot.errors import Invalid, PackshotError
from packshot.geometry import Crop, Gravity
from packshot.model import NAME, PACK_ID, IncludeAll
from resolvers.migration.report import Report
from resolvers.packs import check_crop

MAX_NAME_CHARACTERS = 63
_COMPASS = [gravity.value for gravity in Gravity if gravity not in (Gravity.FOCUS, Gravity.SMART)]
_CORNERS = ("topLeftX", "topLeftY", "bottomRightX", "bottomRightY")
# Lone surrogates, which JSON and file names may contain, and NUL, which PostgreSQL cannot store.
_UNKEPT = re.compile("[\\x00\\ud800-\\udfff]")
_LARGEST_ASSET = 2**63 - 1


@dataclass(frozen=True, slots=True)
class OldLocation:
    """A location config. `values` are those of `resolvers.locations.put_location`, the fallback by its old name."""

    name: str
    values: Mapping[str, Any]
    updated: datetime | None = None


@dataclass(frozen=True, slots=True)
class OldPack:
    """An image pack of the old service.

    Attributes:
        values: asset_id, resize_gravity, include_all.
        main_location: its old name.
        overrides: crop, resize_gravity and include_all, by the old names of locations. Each location that the pack
            names has an entry, which may be empty.
        faults: refused parts, each with its location; None: the pack itself.
    """

    id: str
    values: Mapping[str, Any]
    main_location: str | None
    overrides: Mapping[str, Mapping[str, Any]]
    modified: datetime | None = None
    faults: Sequence[tuple[str | None, PackshotError]] = field(default=())


def read_location(document: Any) -> OldLocation:
    """Read a location config.

    Raises:
        Invalid: it is no location config, or one of its values is not valid.
    """
    fields = _mapping(document)
    values = {
        "label": _text(fields, "label"),
        "width": _number(fields, "width"),
        "height": _number(fields, "height"),
        "fallback": _text(fields, "fallback"),
        **_behaviour(fields),
    }
    return OldLocation(_name(fields, "name"), values, _moment(fields.get("updated")))


def read_pack(document: Any) -> OldPack:
    """Read an image pack. A part that is not valid is left out, and is among the pack's faults.

    Raises:
        Invalid: it is no image pack.
    """
    fields = _mapping(document)
    faults: list[tuple[str | None, PackshotError]] = []
    values: dict[str, Any] = {}
    try:
        values = {"asset_id": _asset(fields.get("assetId"))}
    except PackshotError as error:
        faults.append((None, error))
    try:
        values |= _behaviour(fields)
    except PackshotError as error:
        faults.append((None, error))
    main_location = _text(fields, "mainImageLocation")
    overrides: dict[str, Mapping[str, Any]] = {}
    for name, entry in _mapping(fields.get("imageLocations") or {}).items():
        overrides[name] = {}
        try:
            overrides[name] = _override(_mapping(entry or {}))
        except PackshotError as error:
            faults.append((name, error))
    modified = _moment(fields.get("modified"))
    return OldPack(plain_id(_name(fields, "id")), values, main_location, overrides, modified, tuple(faults))


def plain_id(text: str) -> str:
    """Return a pack's id without the cache buster that URLs append. Ids of another form stay as they are.

    >>> plain_id("62e89a0ce4b0003c6f22b5a3-1662654467834")
    '62e89a0ce4b0003c6f22b5a3'
    """
    before = text.partition("-")[0]
    return before if PACK_ID.fullmatch(before) else text


def map_names(names: Iterable[str]) -> dict[str, str]:
    """Return the new name of each old location: the same one, if it is valid here.

    Otherwise it is written in lower case, and hyphens replace all other characters. If that name is taken, six digits
    of the old name's digest are appended. So a name does not depend on the order of locations.

    >>> map_names(["thumb", "Thumb", "Portal_Cover"])
    {'thumb': 'thumb', 'Portal_Cover': 'portal-cover', 'Thumb': 'thumb-2be3a3'}
    """
    given = sorted(set(names))
    mapped = {name: name for name in given if NAME.fullmatch(name)}
    taken = set(mapped)
    for name in given:
        if name in mapped:
            continue
        plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:MAX_NAME_CHARACTERS] or "location"
        if plain in taken:
            digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
            plain = f"{plain[: MAX_NAME_CHARACTERS - 7]}-{digest[:6]}"
        mapped[name] = plain
        taken.add(plain)
    return mapped


def map_pack_id(id: str, kind: str = "vimond") -> str:
    """Return the new id of a pack: the same one, if it is valid here, else digits of its digest."""
    if kind == "vimond" and PACK_ID.fullmatch(id):
        return id
    return hashlib.sha256(f"{kind} {id}".encode("utf-8", "surrogatepass")).hexdigest()[:24]


def in_order(locations: Mapping[str, OldLocation], report: Report) -> list[OldLocation]:
    """Return the locations in an order in which each follows its fallback.

    A fallback that does not exist, leads back to its beginning, or makes a chain too long is left out and reported.
    """
    fallbacks: dict[str, str] = {}
    for name in sorted(locations):
        fallback = locations[name].values["fallback"]
        if fallback is None:
            continue
        chain = _chain(fallbacks, fallback)
        if fallback not in locations:
            code, why = "NOT_FOUND", f"Its fallback {fallback!r} does not exist; it has none here."
        elif name in chain:
            code, why = (
                "CYCLE",
                f"Its fallback leads back to it, {' -> '.join([name, *chain[: chain.index(name) + 1]])}; left out.",
            )
        elif _longest_to(fallbacks, name) + len(chain) > MAX_FALLBACK_LOCATIONS:
            code, why = (
                "LIMIT",
                f"Its fallback {fallback!r} makes a chain of more than {MAX_FALLBACK_LOCATIONS} locations; left out.",
            )
        else:
            fallbacks[name] = fallback
            continue
        report.left("fallback", name, why, code)
    ordered = sorted(locations, key=lambda name: (len(_chain(fallbacks, name)), name))
    return [
        OldLocation(name, {**locations[name].values, "fallback": fallbacks.get(name)}, locations[name].updated)
        for name in ordered
    ]


def _chain(fallbacks: Mapping[str, str], start: str) -> list[str]:
    chain = [start]
    while (following := fallbacks.get(chain[-1])) is not None:
        chain.append(following)
    return chain


def _longest_to(fallbacks: Mapping[str, str], name: str) -> int:
    """Return the length of the longest chain of locations that ends at `name`, including `name`."""
    return max(
        chain.index(name) + 1 for chain in (_chain(fallbacks, start) for start in {*fallbacks, name}) if name in chain
    )


def _behaviour(fields: Mapping[str, Any]) -> dict[str, Any]:
    gravity, include_all = _text(fields, "resizeGravity"), fields.get("useResizeIncludeAll")
    # Any spelling of the nine names is accepted.
    plain = re.sub("[-_ ]", "", gravity or "unset").lower()
    spelled = "UNSET" if include_all is None else str(include_all).upper()
    if plain not in (*_COMPASS, "unset"):
        raise Invalid("This gravity is unknown.", field=("resizeGravity",), expected=", ".join(_COMPASS), got=gravity)
    if spelled not in IncludeAll.__members__:
        raise Invalid(
            "This is not one of the values.",
            field=("useResizeIncludeAll",),
            expected="UNSET, TRUE or FALSE",
            got=include_all,
        )
    return {"resize_gravity": None if plain == "unset" else Gravity(plain), "include_all": IncludeAll[spelled]}


def _override(fields: Mapping[str, Any]) -> dict[str, Any]:
    crop = fields.get("cropInfo")
    return {"crop": None if crop is None else _crop(_mapping(crop)), **_behaviour(fields)}


def _crop(fields: Mapping[str, Any]) -> Crop | None:
    edges = [fields.get(corner) for corner in _CORNERS]
    if edges == [None] * 4:
        return None
    for corner, edge in zip(_CORNERS, edges, strict=True):
        if isinstance(edge, bool) or not isinstance(edge, int | float):
            raise Invalid("A crop has four numbers.", field=("cropInfo", corner), expected="0.0 to 1.0", got=edge)
    crop = Crop(*(float(edge) for edge in edges if edge is not None))
    check_crop(crop)
    return crop


def _asset(value: Any) -> int | None:
    if value is None or value == "":
        return None
    text = str(value).strip()
    if isinstance(value, bool) or not re.fullmatch(r"[0-9]{1,19}", text) or int(text) > _LARGEST_ASSET:
        raise Invalid("This is not an asset id.", field=("assetId",), expected="a whole number", got=value)
    return int(text)


def _moment(value: Any) -> datetime | None:
    """Read a time as text or as Unix milliseconds; None: it is not known."""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000, UTC)
        if isinstance(value, str):
            # Includes a zone without a colon, as Java writes it.
            moment = datetime.fromisoformat(re.sub(r"([+-][0-9]{2})([0-9]{2})$", r"\1:\2", value.strip()))
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Invalid("This is not a JSON object.", expected="an object", got=value)
    return value


def _name(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise Invalid("It has no name.", field=(name,), expected="a text", got=value)
    return check_text(value, name)


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise Invalid("This is not a text.", field=(name,), expected="a text", got=value)
    return check_text(value, name) if value else None


def check_text(value: str, *field: str) -> str:
    """Return `value` if a database can store it, else raise `Invalid`."""
    if _UNKEPT.search(value):
        raise Invalid("This text cannot be stored.", field=field, expected="Unicode without NUL", got=ascii(value))
    return value


def _number(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    if value is None or value == 0:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise Invalid("This is not a number of pixels.", field=(name,), expected="a whole number", got=value)
    return int(value)
