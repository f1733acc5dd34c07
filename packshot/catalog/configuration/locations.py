"""Locations and their versions. Every change writes a new version; earlier ones stay."""

from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from packshot.catalog.configuration.deletions import note_deleted_location
from packshot.catalog.configuration.snapshots import live_version
from packshot.catalog.database import rows
from packshot.catalog.database.pages import Order, Page, fetch_page
from packshot.catalog.database.transaction import Tx, next_sequence
from packshot.catalog.tables.artwork import location_versions, locations, pack_locations, packs
from packshot.errors import BadState, Cycle, InUse, Invalid, NotFound, VersionConflict
from packshot.geometry import Size
from packshot.ids import IdKind, global_id
from packshot.model import IncludeAll, Location, LocationFields, LocationVersion, Rendition, check_name
from packshot.variants.draft import effective_renditions

MAX_RENDITIONS = 32
MAX_LABEL_CHARACTERS = 255
# Every consulted location is a purge tag of the response, and a CDN limits their number (CloudFront: 50).
MAX_FALLBACK_LOCATIONS = 8
# Columns of a pack location that are null until an edit sets them.
_GIVEN = ("original_sha256", "crop_left", "focus_x", "resize_gravity")


def select_locations() -> sa.Select[Any]:
    return sa.select(*rows.location_columns()).select_from(locations.join(location_versions, live_version()))


def get_location(tx: Tx, name: str) -> Location | None:
    row = tx.connection.execute(
        select_locations().where(locations.c.tenant_id == tx.tenant, locations.c.name == name)
    ).first()
    return None if row is None else rows.to_location(row)


def get_locations(tx: Tx) -> dict[str, Location]:
    """Return every location of the tenant, by name."""
    found = tx.connection.execute(
        select_locations().where(locations.c.tenant_id == tx.tenant).order_by(locations.c.name)
    )
    return {row.l_name: rows.to_location(row) for row in found}


def list_locations(tx: Tx, *, first: int, after: str | None) -> Page[Location]:
    """Return a page of the tenant's locations, ordered by name."""
    statement = select_locations().where(locations.c.tenant_id == tx.tenant)
    return fetch_page(tx, statement, Order((locations.c.name,)), rows.to_location, first=first, after=after)


def count_packs(tx: Tx, names: list[str]) -> dict[str, int]:
    """Return the number of packs that have an original of their own at each location."""
    statement = (
        sa.select(pack_locations.c.location, sa.func.count().label("packs"))
        .where(
            pack_locations.c.tenant_id == tx.tenant,
            pack_locations.c.location.in_(names),
            pack_locations.c.original_sha256.is_not(None),
        )
        .group_by(pack_locations.c.location)
    )
    found = {row.location: row.packs for row in tx.connection.execute(statement)}
    return {name: found.get(name, 0) for name in names}


def read_changes(
    known: Mapping[str, Location],
    name: str,
    changes: Mapping[str, Any],
    *,
    limit: Size,
    own: Collection[Rendition] = (),
    expected_version: int | None = None,
) -> dict[str, Any]:
    """Return the fields of a location that differ from `changes`; all fields of a location that does not exist yet.

    Args:
        known: the tenant's locations, live or with the pending change.
        changes: the fields to set, by name; None resets one to its default.
        limit: maximum sides of a location.
        own: renditions without numbers that are allowed.

    Raises:
        Invalid: a name, size, rendition or list of formats is not valid.
        Cycle: the fallback chain would lead back to this location.
        NotFound: the fallback is not a location of this tenant.
        VersionConflict: the location's version is not `expected_version`.
    """
    check_name(name, "name")
    old = known.get(name)
    _check_version(name, old, expected_version)
    defaults = LocationFields().field_values()
    before = defaults if old is None else old.field_values()
    wanted = before | {field: defaults[field] if value is None else value for field, value in changes.items()}
    _check(name, wanted, known, limit, own, is_new=old is None)
    if old is None:
        return wanted
    return {field: value for field, value in wanted.items() if value != before[field]}


def create_location(tx: Tx, name: str, values: Mapping[str, Any], *, by: str | None = None) -> None:
    """Create a location from all of its fields. The caller holds the configuration."""
    tx.connection.execute(
        sa.insert(locations).values(
            tenant_id=tx.tenant,
            name=name,
            version=1,
            revision=0,
            sequence_number=next_sequence(tx),
            added_at=tx.now,
        )
    )
    _insert_version(tx, name, 1, values, by=by)


def change_location(tx: Tx, old: Location, fields: Mapping[str, Any], *, by: str | None = None) -> None:
    """Make a new version of a location live, in which these fields differ. The caller holds the configuration."""
    _write_version(tx, old, old.field_values() | dict(fields), by=by)


def refresh_locations(tx: Tx, names: Collection[str]) -> None:
    """Give every image of these locations a new key. The caller holds the configuration."""
    for name in sorted(names):
        conditions = (locations.c.tenant_id == tx.tenant, locations.c.name == name)
        changed = {"revision": locations.c.revision + 1, "sequence_number": next_sequence(tx)}
        tx.connection.execute(sa.update(locations).where(*conditions).values(**changed))


def mark_reverts_costly(tx: Tx, names: Collection[str]) -> None:
    """Note that a revert to an earlier version of these locations would render everything."""
    conditions = (location_versions.c.tenant_id == tx.tenant, location_versions.c.name.in_(names))
    tx.connection.execute(
        sa.update(location_versions)
        .where(*conditions, location_versions.c.active_to.is_not(None))
        .values(revert_renders_all=True)
    )


def list_versions(tx: Tx, name: str, *, first: int, after: str | None) -> Page[LocationVersion]:
    """Return a page of a location's versions, the live version first."""
    statement = sa.select(location_versions).where(
        location_versions.c.tenant_id == tx.tenant, location_versions.c.name == name
    )
    order = Order((location_versions.c.version,), descending=True)
    return fetch_page(tx, statement, order, rows.to_version, first=first, after=after)


def get_version(tx: Tx, name: str, version: int) -> LocationVersion:
    """Return one version of a location.

    Raises:
        NotFound: the tenant has no such location, or the location no such version.
    """
    conditions = (location_versions.c.tenant_id == tx.tenant, location_versions.c.name == name)
    row = tx.connection.execute(
        sa.select(location_versions).where(*conditions, location_versions.c.version == version)
    ).first()
    if row is None:
        known = tx.connection.scalars(sa.select(location_versions.c.version).where(*conditions)).all()
        if not known:
            raise NotFound(f"There is no location {name!r}.", field=("name",), got=name)
        raise NotFound(
            f"The location {name!r} has no such version.",
            field=("to_version",),
            expected=f"{min(known)} to {max(known)}",
            got=version,
        )
    return rows.to_version(row)


def delete_location(tx: Tx, name: str, *, force: bool, expected_version: int | None = None) -> bool:
    """Delete a location and its history; return whether any pack may show another image now.

    With `force`, locations that fall back to it lose their fallback, packs whose main location it is use `main`, and
    the pack locations are deleted.

    Raises:
        NotFound: the tenant has no such location.
        BadState: the location is `main`, which every tenant has.
        InUse: packs or locations use it, and `force` is not set.
        VersionConflict: the location's version is not `expected_version`.
    """
    known = get_locations(tx)
    if name not in known:
        raise NotFound(f"There is no location {name!r}.", field=("name",), expected=", ".join(known), got=name)
    _check_version(name, known[name], expected_version)
    if name == "main":
        raise BadState("The location `main` cannot be deleted.", field=("name",), expected="another location", got=name)
    dependents = sorted(location.name for location in known.values() if location.fallback == name)
    conditions = (pack_locations.c.tenant_id == tx.tenant, pack_locations.c.location == name)
    mains = (packs.c.tenant_id == tx.tenant, packs.c.main_location == name)
    used = {
        "packs with settings there": _count(tx, pack_locations, *conditions, _is_set()),
        "packs with it as their main location": _count(tx, packs, *mains),
        f"fallback of {', '.join(dependents)}": len(dependents),
    }
    touched = [f"{what}: {count}" for what, count in used.items() if count]
    if touched and not force:
        raise InUse(
            f"The location {name!r} is in use. {'; '.join(touched)}.", field=("force",), expected="true", got="false"
        )
    for dependent in dependents:
        _write_version(tx, known[dependent], known[dependent].field_values() | {"fallback": None}, by=None)
    tx.connection.execute(sa.delete(pack_locations).where(*conditions))
    tx.connection.execute(sa.update(packs).where(*mains).values(main_location=None))
    tx.connection.execute(sa.delete(locations).where(locations.c.tenant_id == tx.tenant, locations.c.name == name))
    note_deleted_location(tx, name)
    return bool(touched)


def _is_set() -> sa.ColumnElement[bool]:
    """Whether an edit has set anything in a pack location. A refresh alone leaves a row that has only a revision."""
    given = [pack_locations.c[name].is_not(None) for name in _GIVEN]
    return sa.or_(*given, pack_locations.c.include_all != IncludeAll.UNSET.value)


def _count(tx: Tx, table: sa.Table, *where: sa.ColumnElement[bool]) -> int:
    return tx.connection.scalar(sa.select(sa.func.count()).select_from(table).where(*where)) or 0


def _check_version(name: str, old: Location | None, expected_version: int | None) -> None:
    current = 0 if old is None else old.version
    if expected_version not in (None, current):
        raise VersionConflict(
            f"The location {name!r} has another version.",
            field=("expected_version",),
            expected=str(current),
            got=expected_version,
            current_version=current,
            current_id=global_id(IdKind.LOCATION, name),
        )


def _write_version(tx: Tx, old: Location, values: Mapping[str, Any], *, by: str | None) -> None:
    """Write a new live version of a location after `old`."""
    tx.connection.execute(
        sa.update(locations)
        .where(locations.c.tenant_id == tx.tenant, locations.c.name == old.name)
        .values(version=old.version + 1, sequence_number=next_sequence(tx))
    )
    tx.connection.execute(
        sa.update(location_versions)
        .where(location_versions.c.tenant_id == tx.tenant, location_versions.c.name == old.name)
        .where(location_versions.c.version == old.version)
        .values(active_to=tx.now)
    )
    _insert_version(tx, old.name, old.version + 1, values, by=by)


def _insert_version(tx: Tx, name: str, version: int, values: Mapping[str, Any], *, by: str | None) -> None:
    tx.connection.execute(
        sa.insert(location_versions).values(
            tenant_id=tx.tenant,
            name=name,
            version=version,
            active_from=tx.now,
            changed_by=by,
            **rows.dump_fields(values),
        )
    )


def _check(
    name: str,
    wanted: Mapping[str, Any],
    known: Mapping[str, Location],
    limit: Size,
    own: Collection[Rendition],
    *,
    is_new: bool,
) -> None:
    _check_sides(wanted["width"], wanted["height"], limit)
    if is_new and wanted["width"] is None and wanted["height"] is None:
        raise Invalid("A new location needs a width or a height.", field=("width",), expected="a number of pixels")
    if wanted["label"] is not None and len(wanted["label"]) > MAX_LABEL_CHARACTERS:
        raise Invalid(
            "The label is too long.",
            field=("label",),
            expected=f"at most {MAX_LABEL_CHARACTERS} characters",
            got=f"{len(wanted['label'])} characters",
        )
    if len(wanted["renditions"] or ()) > MAX_RENDITIONS:
        raise Invalid(
            "The location has too many renditions.",
            field=("renditions",),
            expected=f"at most {MAX_RENDITIONS}",
            got=len(wanted["renditions"]),
        )
    # A location without a size renders its images in their own size, which clients cannot request by numbers.
    kept = () if is_new else (*own, *effective_renditions(known[name]), *(known[name].renditions or ()))
    for index, rendition in enumerate(wanted["renditions"] or ()):
        if rendition not in kept:
            check_rendition(rendition, limit, ("renditions", str(index)))
    for field in ("renditions", "formats"):
        items = wanted[field]
        if items is not None and (not items or len(set(items)) != len(items)):
            raise Invalid(
                f"{field.capitalize()} must not be empty or have duplicates; null resets them to the default.",
                field=(field,),
                expected="one or more, each once",
                got=f"{len(items)}, {len(set(items))} of them different",
            )
    _check_fallback(name, wanted["fallback"], known)


def _check_sides(width: int | None, height: int | None, limit: Size, *path: str) -> None:
    for side, value, maximum in (("width", width, limit.width), ("height", height, limit.height)):
        if value is not None and not 1 <= value <= maximum:
            raise Invalid(f"The {side} is out of range.", field=(*path, side), expected=f"1 to {maximum}", got=value)


def check_rendition(rendition: Rendition, limit: Size, path: tuple[str, ...]) -> None:
    """Raise `Invalid`, with a field that begins with `path`, unless the rendition can be rendered ahead of time."""
    _check_sides(rendition.width, rendition.height, limit, *path)
    if rendition.width is None and rendition.height is None:
        raise Invalid("A rendition needs a width or a height.", field=(*path, "width"), expected="a number of pixels")
    if not 0.5 <= rendition.dpr <= 4:
        raise Invalid("The dpr is out of range.", field=(*path, "dpr"), expected="0.5 to 4", got=rendition.dpr)


def _check_fallback(name: str, fallback: str | None, known: Mapping[str, Location]) -> None:
    if fallback is not None and fallback != name and fallback not in known:
        raise NotFound(
            f"There is no fallback location {fallback!r}.",
            field=("fallback",),
            expected=", ".join(sorted(known)),
            got=fallback,
        )
    following = {other: location.fallback for other, location in known.items()} | {name: fallback}
    # The new fallback also lengthens every chain that leads through this location.
    for start in following:
        seen: list[str] = [start]
        while (after := following[seen[-1]]) is not None:
            if after in seen:
                raise Cycle(
                    "The fallback chain would lead back to its start.",
                    field=("fallback",),
                    expected="a chain that ends",
                    got=" -> ".join([*seen, after]),
                )
            seen.append(after)
        if len(seen) > MAX_FALLBACK_LOCATIONS:
            raise Invalid(
                "The fallback chain would be too long.",
                field=("fallback",),
                expected=f"at most {MAX_FALLBACK_LOCATIONS} locations",
                got=" -> ".join(seen),
            )
