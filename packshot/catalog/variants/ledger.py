"""The variant ledger: the table of variants and their states.

A row is written before its object, so the ledger knows every object in the store. A planned variant without a row is
pending, too.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from packshot.catalog.database.key_lists import is_in
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.artwork import originals, pack_locations, variants
from packshot.catalog.variants import tombstones
from packshot.errors import ErrorCode, PackshotError
from packshot.variants.key import Key

# After this many failures that the image causes, it is not retried.
MAX_ATTEMPTS = 3
# SQLite allows 32,766 parameters in a statement.
ROWS_PER_STATEMENT = 500


class VariantState(StrEnum):
    """The state of a variant."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"
    # About to be deleted. Only the collector, and a render of the same variant, see such a row.
    COLLECTING = "collecting"


_COLLECTING = VariantState.COLLECTING
_UNTOUCHED = (VariantState.READY.value, _COLLECTING.value)
_NAMES = (variants.c.pack_id, variants.c.location, variants.c.fingerprint, variants.c.plan)


def in_state(state: VariantState) -> sa.ColumnElement[bool]:
    """Return the condition that a variant is in that state."""
    # Literals, because the database chooses a partial index before it knows parameters.
    return variants.c.state == sa.literal_column(f"'{state.value}'")


def place_of(key: Key) -> tuple[str, str, str, str]:
    """Return pack, location, fingerprint and plan: the key of a row within the tenant."""
    return key.pack, key.location, key.fingerprint, str(key.plan)


@dataclass(frozen=True, slots=True)
class Entry:
    """A variant's row, with its key as text.

    Attributes:
        attempts: failures that the image caused.
        planned: it was rendered ahead of time at least once.
        superseded: no URL yielded it when its pack was last checked.
    """

    key: str
    state: VariantState
    bytes: int | None
    sha256: str | None
    attempts: int
    error_code: ErrorCode | None
    error: str | None
    rendered_at: datetime | None
    planned: bool
    superseded: bool

    @property
    def place(self) -> tuple[str, str, str]:
        """Location, fingerprint and plan."""
        _, _, location, fingerprint, plan = self.key.split("/")
        return location, fingerprint, plan


@dataclass(frozen=True, slots=True)
class StoredVariant:
    """A variant that is stored."""

    key: Key
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class FailedVariant:
    """A variant that could not be rendered because of its image."""

    key: Key
    error: PackshotError


@dataclass(frozen=True, slots=True)
class Current:
    """What a pack's URLs yield.

    Attributes:
        shown: location and fingerprint of each image.
        planned: location, fingerprint and plan of each planned variant.
    """

    shown: frozenset[tuple[str, str]]
    planned: frozenset[tuple[str, str, str]]

    @classmethod
    def of(cls, keys: Iterable[Key]) -> "Current":
        """Return what is current for these planned keys, which include every image without a rendition."""
        planned = frozenset((key.location, key.fingerprint, str(key.plan)) for key in keys)
        return cls(frozenset(place[:2] for place in planned), planned)

    def has(self, location: str, fingerprint: str, plan: str, *, planned: bool) -> bool:
        """Whether a variant is current. An unplanned one is current as long as its image is."""
        return (location, fingerprint) in self.shown and (not planned or (location, fingerprint, plan) in self.planned)


def read_entries(tx: Tx, keys: Iterable[Key]) -> dict[str, Entry]:
    """Return the rows of these variants of the tenant, by the text of the key. It reads no other rows.

    It omits variants that have no row or are being collected.
    """
    named = [place_of(key) for key in keys]
    if not named:
        return {}
    statement = sa.select(variants).where(
        variants.c.tenant_id == tx.tenant, is_in(tx, _NAMES, named), ~in_state(_COLLECTING)
    )
    return {entry.key: entry for entry in map(_to_entry, tx.connection.execute(statement))}


def read_planned(tx: Tx, pack_ids: Collection[str]) -> dict[str, Entry]:
    """Return the rows of the packs' planned variants that are not superseded, by key.

    It does not read unplanned variants, because clients can cause any number of them.
    """
    statement = sa.select(variants).where(variants.c.tenant_id == tx.tenant, variants.c.pack_id.in_(pack_ids))
    statement = statement.where(variants.c.planned, variants.c.superseded_at.is_(None), ~in_state(_COLLECTING))
    return {entry.key: entry for entry in map(_to_entry, tx.connection.execute(statement))}


def read_entry(tx: Tx, key: Key) -> Entry | None:
    """Return a variant's row; None if there is none or it is being collected."""
    statement = sa.select(variants).where(_has_key(key), ~in_state(_COLLECTING))
    row = tx.connection.execute(statement).first()
    return None if row is None else _to_entry(row)


def read_ready(tx: Tx, places: Collection[tuple[str, str, str, str]]) -> set[tuple[str, str, str, str]]:
    """Return those of these variants that are READY, each as pack, location, fingerprint and plan."""
    if not places:
        return set()
    statement = sa.select(*_NAMES).where(
        variants.c.tenant_id == tx.tenant, is_in(tx, _NAMES, places), in_state(VariantState.READY)
    )
    return {(row.pack_id, row.location, row.fingerprint, row.plan) for row in tx.connection.execute(statement)}


def find_rendered_before(
    tx: Tx, places: Collection[tuple[str, str, str]], before: datetime
) -> set[tuple[str, str, str]]:
    """Return the places with an unplanned variant that was rendered before a time.

    Args:
        places: pack, location and fingerprint.
    """
    if not places:
        return set()
    statement = (
        sa.select(*_NAMES[:3])
        .where(variants.c.tenant_id == tx.tenant, ~variants.c.planned, is_in(tx, _NAMES[:3], places))
        .where(in_state(VariantState.READY), variants.c.rendered_at < before)
        .distinct()
    )
    return {(row.pack_id, row.location, row.fingerprint) for row in tx.connection.execute(statement)}


def _to_entry(row: Any) -> Entry:
    return Entry(
        key=f"{row.tenant_id}/{row.pack_id}/{row.location}/{row.fingerprint}/{row.plan}",
        state=VariantState(row.state),
        bytes=row.bytes,
        sha256=row.sha256,
        attempts=row.attempts,
        error_code=None if row.error_code is None else ErrorCode(row.error_code),
        error=row.error,
        rendered_at=row.rendered_at,
        planned=row.planned,
        superseded=row.superseded_at is not None,
    )


def _columns(key: Key) -> dict[str, str]:
    return {
        "tenant_id": key.tenant,
        "pack_id": key.pack,
        "location": key.location,
        "fingerprint": key.fingerprint,
        "plan": str(key.plan),
    }


def _has_key(key: Key) -> sa.ColumnElement[bool]:
    return sa.and_(*(variants.c[name] == value for name, value in _columns(key).items()))


def announce(tx: Tx, keys: Sequence[Key], *, planned: bool) -> list[Key]:
    """Write rows for variants that will be rendered. Existing rows stay, but count as planned.

    An unplanned variant is PENDING until its result is recorded, even if it was READY before. So the collector does not
    delete it meanwhile.

    Returns:
        variants that are being collected. The caller must end their collection first.

    Raises:
        Gone: one of their packs was erased.
    """
    tombstones.refuse_erased(tx, {key.pack for key in keys})
    collecting: list[Key] = []
    for start in range(0, len(keys), ROWS_PER_STATEMENT):
        collecting += _announce(tx, keys[start : start + ROWS_PER_STATEMENT], planned=planned)
    return collecting


def _announce(tx: Tx, keys: Sequence[Key], *, planned: bool) -> list[Key]:
    fresh = {"state": VariantState.PENDING.value, "planned": planned, "attempts": 0, "created_at": tx.now}
    primary = [column.name for column in variants.primary_key]
    statement = tx.insert(variants)
    if planned:
        statement = statement.on_conflict_do_update(
            index_elements=primary, set_={"planned": True, "requested_at": None}
        )
    else:
        fresh["requested_at"] = tx.now
        statement = statement.on_conflict_do_update(
            index_elements=primary,
            set_={"state": VariantState.PENDING.value, "requested_at": tx.now},
            where=sa.and_(~variants.c.planned, sa.or_(in_state(VariantState.PENDING), in_state(VariantState.READY))),
        )
    tx.connection.execute(statement, [_columns(key) | fresh for key in keys])
    named = is_in(tx, _NAMES, [place_of(key) for key in keys])
    found = tx.connection.execute(
        sa.select(*_NAMES).where(variants.c.tenant_id == tx.tenant, named, in_state(_COLLECTING))
    ).all()
    collecting = set(map(tuple, found))
    return [key for key in keys if place_of(key) in collecting]


_PRIMARY = ("tenant_id", "pack_id", "location", "fingerprint", "plan")
_BOUND = tuple(f"k_{name}" for name in _PRIMARY)
_BY_KEY = sa.update(variants).where(*(variants.c[name] == sa.bindparam(f"k_{name}") for name in _PRIMARY))
# All variants of what one pack location shows.
_BY_PICTURE = sa.update(variants).where(*(variants.c[name] == sa.bindparam(f"k_{name}") for name in _PRIMARY[:4]))


def _bound(key: Key) -> dict[str, str]:
    return {f"k_{name}": value for name, value in _columns(key).items()}


def mark_lost(tx: Tx, entries: Iterable[Entry]) -> None:
    """Record that the objects of READY variants are missing from the store."""
    rows = [_bound_text(entry.key) for entry in entries]
    if rows:
        ready = variants.c.state == VariantState.READY.value
        tx.connection.execute(_BY_KEY.where(ready).values(state=VariantState.PENDING.value), rows)


def _bound_text(key: str) -> dict[str, str]:
    return dict(zip(_BOUND, key.split("/"), strict=True))


def record(tx: Tx, outcomes: Iterable[StoredVariant | FailedVariant], *, final: bool = False) -> None:
    """Record the result of rendering each variant.

    A refusal counts as an attempt; after the third the variant is FAILED. READY variants and variants that are being
    collected stay as they are.

    Args:
        final: a refusal fails its variant at once.
    """
    kept = list(outcomes)
    made = [outcome for outcome in kept if isinstance(outcome, StoredVariant)]
    refused = [outcome for outcome in kept if isinstance(outcome, FailedVariant)]
    if made:
        ready = {"attempts": 0, "error_code": None, "error": None, "rendered_at": tx.now}
        tx.connection.execute(
            _BY_KEY.where(~in_state(_COLLECTING)).values(
                state=VariantState.READY.value, bytes=sa.bindparam("b_bytes"), sha256=sa.bindparam("b_sha256"), **ready
            ),
            [_bound(variant.key) | {"b_bytes": variant.bytes, "b_sha256": variant.sha256} for variant in made],
        )
    for outcome in refused:
        attempts = sa.literal(MAX_ATTEMPTS) if final else variants.c.attempts + 1
        tx.connection.execute(
            sa.update(variants)
            .where(_has_key(outcome.key), variants.c.state.not_in(_UNTOUCHED))
            .values(
                attempts=attempts,
                error_code=outcome.error.code.value,
                error=str(outcome.error),
                state=sa.case((attempts >= MAX_ATTEMPTS, VariantState.FAILED.value), else_=VariantState.PENDING.value),
            )
        )


def retry_failures(tx: Tx, pack_ids: Collection[str]) -> None:
    """Reset the attempts of the packs' failed variants, and let their originals be decoded again."""
    tx.connection.execute(
        sa.update(variants)
        .where(variants.c.tenant_id == tx.tenant, variants.c.pack_id.in_(pack_ids), in_state(VariantState.FAILED))
        .values(state=VariantState.PENDING.value, attempts=0)
    )
    shown = sa.select(pack_locations.c.original_sha256).where(
        pack_locations.c.tenant_id == tx.tenant, pack_locations.c.pack_id.in_(pack_ids)
    )
    tx.connection.execute(
        sa.update(originals)
        .where(originals.c.tenant_id == tx.tenant, originals.c.sha256.in_(shown), originals.c.failed_at.is_not(None))
        .values(failure=None, failed_at=None)
    )


def supersede(tx: Tx, now: Mapping[str, Current]) -> None:
    """Mark variants that the packs' URLs no longer yield, and unmark those that they yield again; `Current.has` in SQL.

    Planned variants are marked row by row. Unplanned variants are current as long as their image is, so one statement
    marks all of an image. So an edit needs the same number of statements for any number of unplanned variants.

    Args:
        now: what is current, by pack.
    """
    if not now:
        return
    # Sorted, as in every transaction that marks packs, so that they do not deadlock.
    _mark_planned(tx, sorted(_outdated_planned(tx, now)), superseded=True)
    _mark_unplanned(tx, sorted(_outdated_unplanned(tx, now)), superseded=True)
    _mark_planned(tx, sorted(_planned_again(tx, now)), superseded=False)
    _mark_unplanned(tx, sorted(_unplanned_again(tx, now)), superseded=False)


def _outdated_planned(tx: Tx, now: Mapping[str, Current]) -> Iterable[tuple[str, ...]]:
    mine = (variants.c.tenant_id == tx.tenant, variants.c.pack_id.in_(now), variants.c.planned)
    statement = sa.select(*_NAMES).where(*mine, variants.c.superseded_at.is_(None), ~in_state(_COLLECTING))
    for row in tx.connection.execute(statement):
        if not now[row.pack_id].has(row.location, row.fingerprint, row.plan, planned=True):
            yield tuple(row)


def _outdated_unplanned(tx: Tx, now: Mapping[str, Current]) -> Iterable[tuple[str, ...]]:
    mine = (variants.c.tenant_id == tx.tenant, variants.c.pack_id.in_(now), ~variants.c.planned)
    statement = sa.select(*_NAMES[:3]).where(*mine, variants.c.superseded_at.is_(None)).distinct()
    for row in tx.connection.execute(statement):
        if (row.location, row.fingerprint) not in now[row.pack_id].shown:
            yield tuple(row)


def _planned_again(tx: Tx, now: Mapping[str, Current]) -> Iterable[tuple[str, ...]]:
    named = [(pack_id, *place) for pack_id, current in now.items() for place in current.planned]
    mine = (variants.c.tenant_id == tx.tenant, variants.c.planned, is_in(tx, _NAMES, named))
    statement = sa.select(*_NAMES).where(*mine, variants.c.superseded_at.is_not(None), ~in_state(_COLLECTING))
    return map(tuple, tx.connection.execute(statement))


def _unplanned_again(tx: Tx, now: Mapping[str, Current]) -> Iterable[tuple[str, ...]]:
    named = [(pack_id, *place) for pack_id, current in now.items() for place in current.shown]
    mine = (variants.c.tenant_id == tx.tenant, ~variants.c.planned, is_in(tx, _NAMES[:3], named))
    statement = sa.select(*_NAMES[:3]).where(*mine, variants.c.superseded_at.is_not(None)).distinct()
    return map(tuple, tx.connection.execute(statement))


def _mark_planned(tx: Tx, places: Sequence[tuple[str, ...]], *, superseded: bool) -> None:
    if places:
        moment = tx.now if superseded else None
        rows = [dict(zip(_BOUND, (tx.tenant, *place), strict=True)) for place in places]
        tx.connection.execute(_BY_KEY.where(~in_state(_COLLECTING)).values(superseded_at=moment), rows)


def _mark_unplanned(tx: Tx, places: Sequence[tuple[str, ...]], *, superseded: bool) -> None:
    if places:
        marked = variants.c.superseded_at
        others = marked.is_(None) if superseded else marked.is_not(None)
        moment = tx.now if superseded else None
        rows = [dict(zip(_BOUND, (tx.tenant, *place), strict=False)) for place in places]
        tx.connection.execute(
            _BY_PICTURE.where(~variants.c.planned, others, ~in_state(_COLLECTING)).values(superseded_at=moment), rows
        )
