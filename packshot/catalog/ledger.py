"""The variant ledger: which variants there are, and how each stands.

A row is written before its blob is put, so the store holds nothing that the
ledger does not know. A planned variant without a row is pending all the same.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from packshot.catalog import tombstones
from packshot.catalog.tables.artwork import originals, pack_locations, variants
from packshot.catalog.transaction import Tx
from packshot.errors import ErrorCode, PackshotError
from packshot.variants.key import Key

# So often an image may fail by its own fault before it is left alone.
ATTEMPTS = 3
# A statement takes a bounded number of parameters, on SQLite 32,766.
ROWS_AT_ONCE = 500


class VariantState(StrEnum):
    """Whether a variant is still to be made, is there, or cannot be made."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"
    # About to be deleted; nobody but the collector and whoever makes it anew sees it.
    COLLECTING = "collecting"


_UNTOUCHED = (VariantState.READY.value, VariantState.COLLECTING.value)


@dataclass(frozen=True, slots=True)
class Entry:
    """One variant's row, by the text of its key.

    Attributes:
        attempts: how often it failed by the image's own fault.
        planned: it was ever rendered ahead of time.
        superseded: no URL gave it when its pack was last looked at.
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
class Made:
    """A variant that is in the store."""

    key: Key
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A variant that could not be made, by the image's own fault."""

    key: Key
    error: PackshotError


@dataclass(frozen=True, slots=True)
class Current:
    """What a pack's URLs give.

    Attributes:
        shown: location and fingerprint of whatever they show.
        planned: location, fingerprint and plan of what is rendered ahead of time.
    """

    shown: frozenset[tuple[str, str]]
    planned: frozenset[tuple[str, str, str]]

    @classmethod
    def of(cls, keys: Iterable[Key]) -> "Current":
        """Return what is current where these keys are planned: each picture shown has its bare one among them."""
        planned = frozenset((key.location, key.fingerprint, str(key.plan)) for key in keys)
        return cls(frozenset(place[:2] for place in planned), planned)

    def has(self, location: str, fingerprint: str, plan: str, *, planned: bool) -> bool:
        """Whether a variant is current; one that was never planned is while its picture is shown."""
        return (location, fingerprint) in self.shown and (not planned or (location, fingerprint, plan) in self.planned)


def read_entries(tx: Tx, pack_ids: Collection[str]) -> dict[str, Entry]:
    """Return all rows of those packs, by key; what is being collected is not there any more."""
    statement = (
        sa.select(variants)
        .where(variants.c.tenant_id == tx.tenant, variants.c.pack_id.in_(pack_ids))
        .where(variants.c.state != VariantState.COLLECTING.value)
    )
    return {entry.key: entry for entry in map(_to_entry, tx.connection.execute(statement))}


def read_entry(tx: Tx, key: Key) -> Entry | None:
    """Return one variant's row; None where there is none, or it is being collected."""
    statement = sa.select(variants).where(_here(key), variants.c.state != VariantState.COLLECTING.value)
    row = tx.connection.execute(statement).first()
    return None if row is None else _to_entry(row)


def read_ready(tx: Tx, pack_ids: Collection[str]) -> set[tuple[str, str, str, str]]:
    """Return pack, location, fingerprint and plan of every variant of those packs that is there."""
    statement = sa.select(variants.c.pack_id, variants.c.location, variants.c.fingerprint, variants.c.plan).where(
        variants.c.tenant_id == tx.tenant,
        variants.c.pack_id.in_(pack_ids),
        variants.c.state == VariantState.READY.value,
    )
    return {(row.pack_id, row.location, row.fingerprint, row.plan) for row in tx.connection.execute(statement)}


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


def _here(key: Key) -> sa.ColumnElement[bool]:
    return sa.and_(*(variants.c[name] == value for name, value in _columns(key).items()))


def announce(tx: Tx, keys: Sequence[Key], *, planned: bool) -> list[Key]:
    """Write rows for variants about to be made; rows that are there stay, but count as planned.

    Returns those that are being collected: end their collection first.

    Raises:
        Gone: a pack of them was erased.
    """
    tombstones.refuse_erased(tx, {key.pack for key in keys})
    collecting: list[Key] = []
    for start in range(0, len(keys), ROWS_AT_ONCE):
        collecting += _announce(tx, keys[start : start + ROWS_AT_ONCE], planned=planned)
    return collecting


def _announce(tx: Tx, keys: Sequence[Key], *, planned: bool) -> list[Key]:
    fresh = {"state": VariantState.PENDING.value, "planned": planned, "attempts": 0, "created_at": tx.now}
    primary = [column.name for column in variants.primary_key]
    statement = tx.insert(variants)
    if planned:
        statement = statement.on_conflict_do_update(index_elements=primary, set_={"planned": True})
    else:
        statement = statement.on_conflict_do_nothing(index_elements=primary)
    tx.connection.execute(statement, [_columns(key) | fresh for key in keys])
    packs = {key.pack for key in keys}
    found = tx.connection.execute(
        sa.select(variants.c.pack_id, variants.c.location, variants.c.fingerprint, variants.c.plan)
        .where(variants.c.tenant_id == tx.tenant, variants.c.pack_id.in_(packs))
        .where(variants.c.state == VariantState.COLLECTING.value)
    ).all()
    collecting = set(map(tuple, found))
    return [key for key in keys if (key.pack, key.location, key.fingerprint, str(key.plan)) in collecting]


_PRIMARY = ("tenant_id", "pack_id", "location", "fingerprint", "plan")
_BY_KEY = sa.update(variants).where(*(variants.c[name] == sa.bindparam(f"k_{name}") for name in _PRIMARY))


def _bound(key: Key) -> dict[str, str]:
    return {f"k_{name}": value for name, value in _columns(key).items()}


def lose(tx: Tx, entries: Iterable[Entry]) -> None:
    """Note that what was ready is not in the store any more."""
    rows = [_bound_text(entry.key) for entry in entries]
    if rows:
        ready = variants.c.state == VariantState.READY.value
        tx.connection.execute(_BY_KEY.where(ready).values(state=VariantState.PENDING.value), rows)


def _bound_text(key: str) -> dict[str, str]:
    return dict(zip([f"k_{name}" for name in _PRIMARY], key.split("/"), strict=True))


def mark(tx: Tx, entries: Iterable[Entry], *, superseded: bool) -> None:
    """Mark variants that no URL gives, or unmark them."""
    rows = [_bound_text(entry.key) for entry in entries]
    if rows:
        untouched = variants.c.state != VariantState.COLLECTING.value
        tx.connection.execute(_BY_KEY.where(untouched).values(superseded_at=tx.now if superseded else None), rows)


def record(tx: Tx, outcomes: Iterable[Made | Refused]) -> None:
    """Write down how making each variant ended.

    A refusal counts as an attempt; at the third the variant is FAILED. It never
    touches a variant that is READY, and nothing touches one that is being collected.
    """
    kept = list(outcomes)
    made = [outcome for outcome in kept if isinstance(outcome, Made)]
    refused = [outcome for outcome in kept if isinstance(outcome, Refused)]
    if made:
        ready = {"attempts": 0, "error_code": None, "error": None, "rendered_at": tx.now}
        tx.connection.execute(
            _BY_KEY.where(variants.c.state != VariantState.COLLECTING.value).values(
                state=VariantState.READY.value, bytes=sa.bindparam("b_bytes"), sha256=sa.bindparam("b_sha256"), **ready
            ),
            [_bound(one.key) | {"b_bytes": one.bytes, "b_sha256": one.sha256} for one in made],
        )
    for outcome in refused:
        attempts = variants.c.attempts + 1
        tx.connection.execute(
            sa.update(variants)
            .where(_here(outcome.key), variants.c.state.not_in(_UNTOUCHED))
            .values(
                attempts=attempts,
                error_code=outcome.error.code.value,
                error=str(outcome.error),
                state=sa.case((attempts >= ATTEMPTS, VariantState.FAILED.value), else_=VariantState.PENDING.value),
            )
        )


def retry_failures(tx: Tx, pack_ids: Collection[str]) -> None:
    """Give every failed variant of those packs its attempts back, and their originals another try."""
    tx.connection.execute(
        sa.update(variants)
        .where(variants.c.tenant_id == tx.tenant, variants.c.pack_id.in_(pack_ids))
        .where(variants.c.state == VariantState.FAILED.value)
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


def supersede(tx: Tx, pack_id: str, now: Current) -> None:
    """Mark what the pack's URLs no longer give, and unmark what they give again; `Current.has` in SQL."""
    here = (
        variants.c.tenant_id == tx.tenant,
        variants.c.pack_id == pack_id,
        variants.c.state != VariantState.COLLECTING.value,
    )
    pairs = sa.tuple_(variants.c.location, variants.c.fingerprint)
    plans = sa.tuple_(variants.c.location, variants.c.fingerprint, variants.c.plan)
    wanted = plans.in_(list(now.planned))
    current = sa.and_(pairs.in_(list(now.shown)), sa.or_(~variants.c.planned, wanted))
    tx.connection.execute(
        sa.update(variants).where(*here, variants.c.superseded_at.is_(None), ~current).values(superseded_at=tx.now)
    )
    tx.connection.execute(
        sa.update(variants).where(*here, variants.c.superseded_at.is_not(None), current).values(superseded_at=None)
    )
