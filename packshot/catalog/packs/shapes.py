"""Which packs stand for all the others, so that a plan looks at hundreds however many there are.

Every pack has a shape: a text of all that planning depends on, kept as a column
by whoever edits the pack. Packs of one shape are planned once.
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
# Numbers that follow each other lie far apart when multiplied by this, modulo 2^32 (D. Knuth's multiplicative hash).
_SCATTER, _SCATTERED = 2_654_435_761, 2**32


@dataclass(frozen=True, slots=True)
class ShapeSample:
    """One pack, and how many it stands for, itself among them."""

    pack_id: str
    packs: float


@dataclass(frozen=True, slots=True)
class ShapeSurvey:
    """The packs that a plan looks at.

    Attributes:
        shapes: packs of different shapes, last modified first; together they stand for all.
        newest: the last modified packs.
        spread: some of all others, each as likely as any.
    """

    shapes: Sequence[ShapeSample]
    newest: Sequence[str]
    spread: Sequence[str]


def keep_shape(tx: Tx, pack_id: str) -> None:
    """Write down the shape that a pack has now; the last step of every edit."""
    tx.connection.execute(_keeping(tx.connection.dialect.name), {"tenant": tx.tenant, "pack": pack_id})


@cache
def _keeping(dialect: str) -> sa.Update:
    # Built once: building it took a fifth of the CPU time of an edit.
    conditions = (packs.c.tenant_id == sa.bindparam("tenant"), packs.c.id == sa.bindparam("pack"))
    return sa.update(packs).where(*conditions).values(shape=shape(dialect), shape_version=packs.c.version)


def shape(dialect: str) -> sa.ColumnElement[Any]:
    """Return the expression of a pack's shape, for an UPDATE of packs."""
    slots, others = pack_locations.alias("s"), pack_locations.alias("t")
    # Of two locations with one original it matters that it is one.
    twin = (
        sa.select(sa.func.min(others.c.location))
        .where(others.c.tenant_id == slots.c.tenant_id, others.c.pack_id == slots.c.pack_id)
        .where(others.c.original_sha256 == slots.c.original_sha256)
        .scalar_subquery()
    )
    facts = (originals.c.width, originals.c.height, originals.c.format, originals.c.alpha, originals.c.frames)
    own = (
        slots.c.crop_left,
        slots.c.crop_top,
        slots.c.crop_right,
        slots.c.crop_bottom,
        slots.c.focus_x,
        slots.c.focus_y,
        slots.c.resize_gravity,
        slots.c.include_all,
    )
    held = (
        sa.select(sa.func.aggregate_strings(_text(slots.c.location, twin, *facts, *own), ";"))
        .select_from(
            slots.outerjoin(
                originals,
                sa.and_(originals.c.tenant_id == slots.c.tenant_id, originals.c.sha256 == slots.c.original_sha256),
            )
        )
        .where(slots.c.tenant_id == packs.c.tenant_id, slots.c.pack_id == packs.c.id)
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
    # Where a process of an earlier release made the last edit, nothing is known: such a pack stands for itself.
    return sa.case((packs.c.shape_version == packs.c.version, packs.c.shape), else_=packs.c.id)


def read_survey(tx: Tx, most: int) -> ShapeSurvey:
    """Return the packs that stand for all packs of the tenant: a few statements however many there are.

    Args:
        most: up to so many shapes every pack counts; of more, the commonest quarter of that number, and as
            many other packs by chance. The other two samples have half as many packs each.
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
    # As large as it takes to meet the others often enough, where they are not too few to matter.
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
    """Return about `some` packs in no order, each as likely as any; all where there are no more."""
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
    """Return the snapshots of those packs, by id, under a configuration that is known already."""
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
    slots: dict[str, dict[str, PackLocation]] = {}
    for row in tx.connection.execute(statement.where(packs.c.tenant_id == tx.tenant, packs.c.id.in_(pack_ids))):
        if row.p_id not in found:
            found[row.p_id], slots[row.p_id] = rows.to_pack(row), {}
        if row.s_pack_id is not None:
            slots[row.p_id][row.s_location] = rows.to_pack_location(row)
    return {id: Snapshot(tenant, locations, pack, slots[id]) for id, pack in found.items()}


def is_shown_by_any_pack(tx: Tx, chain: Collection[str]) -> bool:
    """Whether any pack shows something at the location whose fallback chain this is."""
    slots = sa.select(pack_locations.c.pack_id).where(
        pack_locations.c.tenant_id == tx.tenant, pack_locations.c.original_sha256.is_not(None)
    )
    chain_slots = slots.where(pack_locations.c.location.in_(chain)).limit(1)
    main = (
        slots.join(
            packs, sa.and_(packs.c.tenant_id == pack_locations.c.tenant_id, packs.c.id == pack_locations.c.pack_id)
        )
        .where(pack_locations.c.location == sa.func.coalesce(packs.c.main_location, "main"))
        .limit(1)
    )
    return any(tx.connection.scalar(statement) is not None for statement in (chain_slots, main))
