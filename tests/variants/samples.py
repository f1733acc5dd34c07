"""Snapshots built by hand, for the pure rules."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from packshot.geometry import Gravity
from packshot.model import (
    FormatPolicy,
    IncludeAll,
    Location,
    Original,
    Pack,
    PackLocation,
    Snapshot,
    Tenant,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PACK_ID = "0123456789abcdef01234567"
TENANT = Tenant("acme", 1, Gravity.CENTER, False, FormatPolicy.ORIGINAL)
PACK = Pack(PACK_ID, 1, 1, None, None, None, None, IncludeAll.UNSET, NOW, NOW)


def original(digit: str = "a", width: int = 4000, height: int = 3000, **values: Any) -> Original:
    """An original whose SHA-256 is one hex digit repeated."""
    plain = Original(digit * 64, width, height, 1000, "jpeg", False, 1, None, None)
    return replace(plain, **values)


def location(name: str, **values: Any) -> Location:
    """A location with these fields, and defaults for all others."""
    return replace(Location(name=name, version=1, revision=0, added_at=NOW, updated_at=NOW), **values)


def pack_location(name: str, **values: Any) -> PackLocation:
    """A pack location with these settings only."""
    return replace(PackLocation(PACK_ID, name), **values)


def snapshot(*parts: Location | PackLocation, tenant: Tenant = TENANT, pack: Pack = PACK) -> Snapshot:
    """A snapshot with these locations and pack locations, and the location `main`."""
    locations = {"main": location("main")} | {part.name: part for part in parts if isinstance(part, Location)}
    pack_locations = {part.location: part for part in parts if isinstance(part, PackLocation)}
    return Snapshot(tenant, locations, pack, pack_locations)
