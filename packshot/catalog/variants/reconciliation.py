"""Compare the ledger with the stores in portions, and correct it."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from packshot.catalog.database.transaction import Catalog, Tx
from packshot.catalog.tables.artwork import originals, pack_locations, variants
from packshot.catalog.variants.ledger import VariantState
from packshot.variants.key import Key

PORTION = 500


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """A variant as its row describes it.

    Attributes:
        ready: the row says that it is stored; else it is being rendered or deleted.
    """

    pack_id: str
    location: str
    fingerprint: str
    plan: str
    ready: bool
    planned: bool
    bytes: int | None
    sha256: str | None

    @property
    def columns(self) -> tuple[str, str, str, str]:
        """The key of the row within the tenant."""
        return self.pack_id, self.location, self.fingerprint, self.plan


def count_variants(tx: Tx) -> int:
    """Return the number of rows of the tenant's ledger."""
    statement = sa.select(sa.func.count()).select_from(variants).where(variants.c.tenant_id == tx.tenant)
    return tx.connection.scalar(statement) or 0


def iterate_packs(catalog: Catalog, tenant: str) -> Iterator[str]:
    """Yield the id of every pack in the ledger, in order. Each portion is read in its own transaction."""
    last = ""
    while True:
        with catalog.read(tenant) as tx:
            statement = sa.select(variants.c.pack_id).distinct().where(variants.c.tenant_id == tenant)
            statement = statement.where(variants.c.pack_id > last).order_by(variants.c.pack_id).limit(PORTION)
            found = list(tx.connection.scalars(statement))
        if not found:
            return
        yield from found
        last = found[-1]


def read_ledger_rows(tx: Tx, pack_ids: Collection[str]) -> dict[str, LedgerRow]:
    """Return the rows of these packs, by key."""
    found = tx.connection.execute(
        sa.select(variants).where(variants.c.tenant_id == tx.tenant, variants.c.pack_id.in_(pack_ids))
    )
    rows = (
        LedgerRow(
            row.pack_id,
            row.location,
            row.fingerprint,
            row.plan,
            row.state == VariantState.READY.value,
            row.planned,
            row.bytes,
            row.sha256,
        )
        for row in found
    )
    return {"/".join((tx.tenant, *row.columns)): row for row in rows}


def mark_missing(tx: Tx, found: Sequence[LedgerRow], *, again: bool) -> list[LedgerRow]:
    """Correct READY rows whose objects are missing or differ. Returns those that did not change meanwhile.

    Args:
        again: render them again; else delete their rows.
    """
    return [row for row in found if _disown(tx, row, again=again)]


def _disown(tx: Tx, row: LedgerRow, *, again: bool) -> bool:
    names = (variants.c.pack_id, variants.c.location, variants.c.fingerprint, variants.c.plan)
    conditions = [
        variants.c.tenant_id == tx.tenant,
        *(name == value for name, value in zip(names, row.columns, strict=True)),
        variants.c.state == VariantState.READY.value,
        variants.c.sha256 == row.sha256,
    ]
    if not again:
        return bool(tx.connection.execute(sa.delete(variants).where(*conditions)).rowcount)
    fresh = {"state": VariantState.PENDING.value, "bytes": None, "sha256": None, "rendered_at": None, "attempts": 0}
    return bool(tx.connection.execute(sa.update(variants).where(*conditions).values(**fresh)).rowcount)


def adopt_orphan(tx: Tx, key: Key) -> bool:
    """Write a COLLECTING row for an object that has none. Returns False if it has one by now."""
    statement = tx.insert(variants).values(
        tenant_id=key.tenant,
        pack_id=key.pack,
        location=key.location,
        fingerprint=key.fingerprint,
        plan=str(key.plan),
        state=VariantState.COLLECTING.value,
        planned=False,
        attempts=0,
        created_at=tx.now,
        superseded_at=tx.now,
        requested_at=tx.now,
    )
    return bool(tx.connection.execute(statement.on_conflict_do_nothing()).rowcount)


def iterate_originals(catalog: Catalog, tenant: str) -> Iterator[tuple[str, int]]:
    """Yield (SHA-256, bytes) of every original that a pack location uses, in order."""
    shown = (
        sa.select(pack_locations.c.pack_id)
        .where(pack_locations.c.tenant_id == originals.c.tenant_id)
        .where(pack_locations.c.original_sha256 == originals.c.sha256)
        .exists()
    )
    last = ""
    while True:
        with catalog.read(tenant) as tx:
            statement = sa.select(originals.c.sha256, originals.c.bytes).where(originals.c.tenant_id == tenant, shown)
            statement = statement.where(originals.c.sha256 > last).order_by(originals.c.sha256).limit(PORTION)
            found = [(row.sha256, row.bytes) for row in tx.connection.execute(statement)]
        if not found:
            return
        yield from found
        last = found[-1][0]


def list_places(tx: Tx, sha256: str, *, limit: int) -> list[tuple[str, str]]:
    """Return (pack, location) of each pack location that uses an original."""
    statement = (
        sa.select(pack_locations.c.pack_id, pack_locations.c.location)
        .where(pack_locations.c.tenant_id == tx.tenant, pack_locations.c.original_sha256 == sha256)
        .order_by(pack_locations.c.pack_id, pack_locations.c.location)
        .limit(limit)
    )
    return [(row.pack_id, row.location) for row in tx.connection.execute(statement)]


def find_undated_originals(tx: Tx, digests: Collection[str]) -> set[str]:
    """Return those of these originals that only an earlier release has probed; see `Original.decode_revision`."""
    conditions = (
        originals.c.tenant_id == tx.tenant,
        originals.c.sha256.in_(digests),
        originals.c.decode_revision.is_(None),
    )
    return set(tx.connection.scalars(sa.select(originals.c.sha256).where(*conditions)))


def list_packs_showing(tx: Tx, sha256: str) -> list[str]:
    """Return every pack with a location that uses an original, in order."""
    statement = sa.select(pack_locations.c.pack_id).distinct().order_by(pack_locations.c.pack_id)
    conditions = (pack_locations.c.tenant_id == tx.tenant, pack_locations.c.original_sha256 == sha256)
    return list(tx.connection.scalars(statement.where(*conditions)))


def count_originals(tx: Tx, *, most: int) -> int:
    """Return the number of originals of all tenants, up to `most`."""
    some = sa.select(originals.c.sha256).distinct().limit(most).subquery()
    return tx.connection.scalar(sa.select(sa.func.count()).select_from(some)) or 0


def find_known_originals(tx: Tx, digests: Collection[str]) -> set[str]:
    """Return those of these originals that have a row."""
    conditions = (originals.c.tenant_id == tx.tenant, originals.c.sha256.in_(digests))
    return set(tx.connection.scalars(sa.select(originals.c.sha256).where(*conditions)))
