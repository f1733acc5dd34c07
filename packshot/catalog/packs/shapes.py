"""Choose packs that represent all others, so that planning reads hundreds of packs at most.

A shape is a text of everything about a pack that planning depends on. Every edit stores it in a column.
Packs of one shape are planned once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database import rows
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.artwork import originals, pack_locations, packs
from packshot.model import Location, Pack, PackLocation, Snapshot, Tenant

_LARGEST_SAMPLE = 20_000
# Multiplication by this modulo 2^32 scatters consecutive numbers (D. Knuth's multiplicative hash).
_SCATTER, _SCATTERED = 2_654_435_761, 2**32


@dataclass(frozen=True, slots=True)
class ShapeSample:
    """A pack, and the number of packs that it represents, itself included."""

    pack_id: str
    packs: float


@dataclass(frozen=True, slots=True)
class ShapeSurvey:
    """The packs that planning reads.

    Attributes:
        shapes: packs of different shapes, last modified first; together they represent all packs.
        newest: the last modified packs.
        spread: a random sample of the other packs.
    """

    shapes: Sequence[ShapeSample]
    newest: Sequence[str]
    spread: Sequence[str]


def keep_shape(tx: Tx, pack_id: str) -> None:
    """Store the pack's current shape. It is the last step of every edit."""
    tx.connection.execute(_keeping(tx.connection.dialect.name), {"tenant": tx.tenant, "pack": pack_id})


@cache
def _keeping(dialect: str) -> sa.Update:
    # Built once, because building it took a fifth of the CPU time of an edit.
    conditions = (packs.c.tenant_id == sa.bindparam("tenant"), packs.c.id == sa.bindparam("pack"))
    return sa.update(packs).where(*conditions).values(shape=shape(dialect), shape_version=packs.c.version)


def shape(dialect: str) -> sa.ColumnElement[Any]:
    """Return the expression of a pack's shape, for an UPDATE of packs."""
    these, others = pack_locations.alias("s"), pack_locations.alias("t")
    # Planning depends on whether two locations share an original.
    twin = (
        sa.select(sa.func.min(others.c.location))
        .where(others.c.tenant_id == these.c.tenant_id, others.c.pack_id == these.c.pack_id)
        .where(others.c.original_sha256 == these.c.original_sha256)
        .scalar_subquery()
    )
    facts = (originals.c.width, originals.c.height, originals.c.format, originals.c.alpha, originals.c.frames)
    own = (
        these.c.crop_left,
        these.c.crop_top,
        these.c.crop_right,
        these.c.crop_bottom,
        these.c.focus_x,
        these.c.focus_y,
        these.c.resize_gravity,
        these.c.include_all,
    )
    held = (
        sa.select(sa.func.aggregate_strings(_text(these.c.location, twin, *facts, *own), ";"))
        .select_from(
            these.outerjoin(
                originals,
                sa.and_(originals.c.tenant_id == these.c.tenant_id, originals.c.sha256 == these.c.original_sha256),
            )
        )
        .where(these.c.tenant_id == packs.c.tenant_id, these.c.pack_id == packs.c.id)
        .correlate(packs)
        .scalar_subquery()
    )
    text = _text(packs.c.main_location, packs.c.resize_gravity, packs.c.include_all, held)
    return sa.func.md5(text) if dialect == "postgresql" else text


def _text(*parts: Any) -> sa.ColumnElement[Any]:
    spelled = [sa.func.coalesce(sa.cast(part, sa.Text), "") for part in parts]
    text: sa.ColumnElement[Any] = spelled[0]
    for part in spelled[1:]:
        text = text.concat("|").concat(part)
    return text


def _key() -> sa.ColumnElement[Any]:
    # If a process of an earlier release made the last edit, the shape is unknown. Such a pack represents itself.
    return sa.case((packs.c.shape_version == packs.c.version, packs.c.shape), else_=packs.c.id)


def read_survey(tx: Tx, most: int) -> ShapeSurvey:
    """Return the packs that represent all packs of the tenant. The number of statements is fixed.

    Args:
        most: with up to this many shapes, each is represented. With more, the result holds a quarter of this number
        of the
            commonest shapes, and as many other packs by chance. The two other samples hold half as many packs each.
    """
    mine = packs.c.tenant_id == tx.tenant
    total = tx.connection.scalar(sa.select(sa.func.count()).select_from(packs).where(mine)) or 0
    key = _key().label("key")
    count, last = sa.func.count().label("alike"), sa.func.max(packs.c.sequence_number).label("last")
    largest = tx.connection.execute(
        sa.select(key, count, last).where(mine).group_by(key).order_by(count.desc(), last.desc()).limit(most + 1)
    ).all()
    if len(largest) > most:
        largest = largest[: most // 4]
    seen = {row.last: float(row.alike) for row in largest}
    others = total - sum(row.alike for row in largest)
    newest = tx.connection.execute(
        sa.select(packs.c.id, packs.c.sequence_number)
        .where(mine)
        .order_by(packs.c.sequence_number.desc())
        .limit(most // 2)
    ).all()
    # Large enough to find other packs, unless they are too few to matter.
    enough = most if not others else max(most, min(_LARGEST_SAMPLE, most // 4 * total // others))
    sample = _sample(tx, enough, total) if total else []
    known = {row.key for row in largest}
    met = [row.sequence_number for row in sample if row.key not in known][: most // 4] if others else []
    if others and not met:
        seen = {number: alike * total / (total - others) for number, alike in seen.items()}
    seen |= {number: others / len(met) for number in met}
    spread = [row.sequence_number for row in sample if row.sequence_number < newest[-1].sequence_number][: most // 2]
    ids = _ids(tx, {*seen, *spread})
    return ShapeSurvey(
        [ShapeSample(ids[number], seen[number]) for number in sorted(seen, reverse=True)],
        [row.id for row in newest],
        [ids[number] for number in spread],
    )


def _sample(tx: Tx, some: int, among: int) -> Sequence[Any]:
    """Return a random sample of about `some` packs, unordered; all packs if there are fewer."""
    scattered = (packs.c.sequence_number % 1_000_003 * _SCATTER) % _SCATTERED
    return tx.connection.execute(
        sa.select(packs.c.sequence_number, _key().label("key"))
        .where(packs.c.tenant_id == tx.tenant, scattered < _SCATTERED * some // among)
        .order_by(scattered)
    ).all()


def _ids(tx: Tx, numbers: Collection[int]) -> dict[int, str]:
    found = tx.connection.execute(
        sa.select(packs.c.sequence_number, packs.c.id).where(
            packs.c.tenant_id == tx.tenant, packs.c.sequence_number.in_(numbers)
        )
    )
    return {row.sequence_number: row.id for row in found}


def read_packs(
    tx: Tx, pack_ids: Collection[str], tenant: Tenant, locations: Mapping[str, Location]
) -> dict[str, Snapshot]:
    """Return the snapshots of these packs, by id, under a given configuration."""
    source = packs.outerjoin(
        pack_locations,
        sa.and_(pack_locations.c.tenant_id == packs.c.tenant_id, pack_locations.c.pack_id == packs.c.id),
    ).outerjoin(
        originals,
        sa.and_(
            originals.c.tenant_id == pack_locations.c.tenant_id,
            originals.c.sha256 == pack_locations.c.original_sha256,
        ),
    )
    statement = sa.select(*rows.pack_columns(), *rows.pack_location_columns()).select_from(source)
    found: dict[str, Pack] = {}
    by_location: dict[str, dict[str, PackLocation]] = {}
    for row in tx.connection.execute(statement.where(packs.c.tenant_id == tx.tenant, packs.c.id.in_(pack_ids))):
        if row.p_id not in found:
            found[row.p_id], by_location[row.p_id] = rows.to_pack(row), {}
        if row.s_pack_id is not None:
            by_location[row.p_id][row.s_location] = rows.to_pack_location(row)
    return {id: Snapshot(tenant, locations, pack, by_location[id]) for id, pack in found.items()}


def is_shown_by_any_pack(tx: Tx, chain: Collection[str]) -> bool:
    """Return whether any pack shows an image at the location with this fallback chain."""
    showing = sa.select(pack_locations.c.pack_id).where(
        pack_locations.c.tenant_id == tx.tenant, pack_locations.c.original_sha256.is_not(None)
    )
    in_chain = showing.where(pack_locations.c.location.in_(chain)).limit(1)
    main = (
        showing.join(
            packs, sa.and_(packs.c.tenant_id == pack_locations.c.tenant_id, packs.c.id == pack_locations.c.pack_id)
        )
        .where(pack_locations.c.location == sa.func.coalesce(packs.c.main_location, "main"))
        .limit(1)
    )
    return any(tx.connection.scalar(statement) is not None for statement in (in_chain, main))
