"""Packs and their pack locations. Every change raises the pack's version and gives it a new sequence number."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from packshot.catalog.clients import webhook_deliveries
from packshot.catalog.clients.webhooks import Event
from packshot.catalog.configuration.deletions import note_deleted_pack
from packshot.catalog.database import rows
from packshot.catalog.database.transaction import Tx, next_sequence, share_configuration
from packshot.catalog.packs.shapes import keep_shape
from packshot.catalog.purging import purges
from packshot.catalog.tables.artwork import locations, originals, pack_locations, pack_originals, packs
from packshot.catalog.tables.work import orders
from packshot.catalog.variants import ledger, tombstones
from packshot.catalog.variants.ledger import Current
from packshot.catalog.work import job_items, job_portions, url_imports
from packshot.errors import Invalid, NotFound, Taken, VersionConflict
from packshot.model import PACK_ID, IncludeAll, Original


def find_pack(tx: Tx, *, asset_id: int | None = None, external_id: str | None = None) -> str | None:
    """Return the id of the pack with that asset or external id."""
    column, value = (packs.c.external_id, external_id) if asset_id is None else (packs.c.asset_id, asset_id)
    found: str | None = tx.connection.scalar(
        sa.select(packs.c.id).where(packs.c.tenant_id == tx.tenant, column == value)
    )
    return found


def find_packs(tx: Tx, *, external_ids: Sequence[str]) -> dict[str, str]:
    """Return the ids of the packs with these external ids, by external id."""
    conditions = (packs.c.tenant_id == tx.tenant, packs.c.external_id.in_(external_ids))
    return {
        row.external_id: row.id
        for row in tx.connection.execute(sa.select(packs.c.external_id, packs.c.id).where(*conditions))
    }


def find_external_ids(tx: Tx, pack_ids: Collection[str]) -> dict[str, str | None]:
    """Return the external ids of the packs with these ids, by id."""
    conditions = (packs.c.tenant_id == tx.tenant, packs.c.id.in_(pack_ids))
    return {
        row.id: row.external_id
        for row in tx.connection.execute(sa.select(packs.c.id, packs.c.external_id).where(*conditions))
    }


def exists(tx: Tx, pack_id: str) -> bool:
    """Return whether the tenant has such a pack."""
    conditions = (packs.c.tenant_id == tx.tenant, packs.c.id == pack_id)
    return tx.connection.execute(sa.select(packs.c.id).where(*conditions)).first() is not None


def get_states(tx: Tx, places: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the versions of these packs and the sequence numbers that are rendered, by tenant and id."""
    if not places:
        return {}
    rendered = sa.func.coalesce(orders.c.rendered_seq, 0).label("rendered")
    found = tx.connection.execute(
        sa.select(packs.c.tenant_id, packs.c.id, packs.c.version, rendered)
        .outerjoin(orders, sa.and_(orders.c.tenant_id == packs.c.tenant_id, orders.c.pack_id == packs.c.id))
        .where(sa.tuple_(packs.c.tenant_id, packs.c.id).in_(places))
    )
    return {(row.tenant_id, row.id): (row.version, row.rendered) for row in found}


def create_pack(tx: Tx, values: Mapping[str, Any], *, id: str | None = None) -> str:
    """Create a pack and return its id.

    Args:
        values: asset_id, external_id, main_location, resize_gravity, include_all.
        id: the id of a migrated pack; None: a new id.

    Raises:
        Taken: another pack has that id, asset id or external id.
        Invalid: `id` is not a valid pack id.
        Gone: the pack with this id was erased.
        NotFound: the tenant has no such main location.
    """
    share_configuration(tx)
    # Drawn before the check, because the counter's lock prevents that two packs get the same asset id at once.
    seq = next_sequence(tx)
    if id is not None:
        _check_id(tx, id)
    _check_values(tx, values, own_id=None)
    pack_id = secrets.token_hex(12) if id is None else id
    tx.connection.execute(
        sa.insert(packs).values(
            **{"include_all": IncludeAll.UNSET.value, **values},
            tenant_id=tx.tenant,
            id=pack_id,
            version=1,
            sequence_number=seq,
            created_at=tx.now,
            modified_at=tx.now,
        )
    )
    keep_shape(tx, pack_id)
    webhook_deliveries.add_delivery(
        tx, Event.PACK_CHANGED, {"packId": pack_id, "version": 1, "sequenceNumber": seq, "deleted": False}
    )
    return pack_id


def _check_id(tx: Tx, id: str) -> None:
    if not PACK_ID.fullmatch(id):
        raise Invalid("That is no id of a pack.", field=("id",), expected="24 lower-case hex digits", got=id)
    tombstones.refuse_erased(tx, [id])
    if exists(tx, id):
        raise Taken("There is a pack with that id.", field=("id",), expected="another id", got=id, existing_id=id)


def _check_values(tx: Tx, values: Mapping[str, Any], *, own_id: str | None) -> None:
    for field in ("asset_id", "external_id"):
        if values.get(field) is None:
            continue
        found = find_pack(tx, **{field: values[field]})
        if found is not None and found != own_id:
            raise Taken(
                "Another pack has that id already.",
                field=(field,),
                expected="an id that no other pack has",
                got=values[field],
                existing_id=found,
            )
    external_id = values.get("external_id")
    if external_id is not None and not 1 <= len(external_id) <= 255:
        raise Invalid(
            "An external id is 1 to 255 characters.",
            field=("external_id",),
            expected="1 to 255 characters",
            got=f"{len(external_id)} characters",
        )
    if values.get("main_location") is not None:
        check_location(tx, values["main_location"], "main_location")


def check_location(tx: Tx, name: str, *field: str) -> None:
    """Raise `NotFound` unless the tenant has that location."""
    known = tx.connection.scalars(sa.select(locations.c.name).where(locations.c.tenant_id == tx.tenant)).all()
    if name not in known:
        raise NotFound(f"There is no location {name!r}.", field=field, expected=", ".join(sorted(known)), got=name)


def touch_pack(tx: Tx, pack_id: str, *, cause: str, expected_version: int | None = None, deleted: bool = False) -> None:
    """Begin an edit of a pack: lock it, raise its version and sequence number, and order the purge of its copies.

    Args:
        cause: what is edited and by whom, to display at the purge.

    Raises:
        NotFound: the tenant has no such pack.
        VersionConflict: the pack's version differs from `expected_version`.
    """
    share_configuration(tx)
    conditions = (packs.c.tenant_id == tx.tenant, packs.c.id == pack_id)
    locked = sa.select(packs.c.version, packs.c.sequence_number).where(*conditions).with_for_update(key_share=True)
    row = tx.connection.execute(locked).first()
    if row is None:
        raise NotFound("There is no such pack.", field=("pack_id",), expected="a pack of this tenant", got=pack_id)
    version: int = row.version
    if expected_version not in (None, version):
        raise VersionConflict(
            "The pack has moved on.",
            field=("expected_version",),
            expected=str(version),
            got=expected_version,
            current_version=version,
            current_id=pack_id,
        )
    seq = next_sequence(tx)
    tx.connection.execute(
        sa.update(packs).where(*conditions).values(version=version + 1, sequence_number=seq, modified_at=tx.now)
    )
    job_portions.defer_pack(tx, pack_id, row.sequence_number)
    changed = {"packId": pack_id, "version": version + 1, "sequenceNumber": seq, "deleted": deleted}
    webhook_deliveries.add_delivery(tx, Event.PACK_CHANGED, changed)
    purges.order_pack_purge(tx, pack_id, cause=cause)


def update_pack(
    tx: Tx, pack_id: str, values: Mapping[str, Any], *, cause: str, expected_version: int | None = None
) -> None:
    """Set values of a pack; see `create_pack`.

    Raises:
        NotFound: the tenant has no such pack or main location.
        Taken: another pack has that asset or external id.
        VersionConflict: the pack's version differs from `expected_version`.
    """
    touch_pack(tx, pack_id, cause=cause, expected_version=expected_version)
    _check_values(tx, values, own_id=pack_id)
    if values:
        conditions = (packs.c.tenant_id == tx.tenant, packs.c.id == pack_id)
        tx.connection.execute(sa.update(packs).where(*conditions).values(**values))
    keep_shape(tx, pack_id)


def delete_pack(tx: Tx, pack_id: str, *, cause: str, expected_version: int | None = None, erased: bool = False) -> None:
    """Delete a pack. The rows of its variants stay as superseded, because their objects stay for the grace period.

    Args:
        erased: the change feed reports an erasure.

    Raises:
        NotFound: the tenant has no such pack.
        VersionConflict: the pack's version differs from `expected_version`.
    """
    touch_pack(tx, pack_id, cause=cause, expected_version=expected_version, deleted=True)
    ledger.supersede(tx, {pack_id: Current(frozenset(), frozenset())})
    job_items.remove_pack(tx, pack_id)
    url_imports.cancel_import(tx, pack_id)
    conditions = (packs.c.tenant_id == tx.tenant, packs.c.id == pack_id)
    gone = sa.delete(packs).where(*conditions).returning(packs.c.sequence_number, packs.c.external_id, packs.c.asset_id)
    number, external_id, asset_id = tx.connection.execute(gone).one()
    note_deleted_pack(tx, pack_id, number, external_id=external_id, asset_id=asset_id, erased=erased)


def set_pack_location(tx: Tx, pack_id: str, location: str, values: Mapping[str, Any]) -> None:
    """Set columns of a pack location. Creates its row if needed.

    Raises:
        NotFound: the tenant has no such location.
    """
    check_location(tx, location, "location")
    new = {"version": 1, "include_all": IncludeAll.UNSET.value, "revision": 0, **values}
    statement = tx.insert(pack_locations).values(tenant_id=tx.tenant, pack_id=pack_id, location=location, **new)
    tx.connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "pack_id", "location"],
            set_={**values, "version": pack_locations.c.version + 1},
        )
    )
    keep_shape(tx, pack_id)


def get_original(tx: Tx, sha256: str) -> Original:
    """Return an original.

    Raises:
        NotFound: the tenant has no such original.
    """
    statement = sa.select(*rows.prefixed(originals, "o"))
    row = tx.connection.execute(
        statement.where(originals.c.tenant_id == tx.tenant, originals.c.sha256 == sha256)
    ).first()
    if row is None:
        raise NotFound("There is no such original.", expected="an original of this tenant", got=sha256)
    return rows.to_original(row)


def announce_original(tx: Tx, original: Original) -> None:
    """Record an original before its bytes are stored. Missing values of a known original are filled in.

    Values that come from its pixels are replaced, because the decoder may have changed. Until a pack location uses the
    original, its grace period counts from now.
    """
    learnt = ("quality", "decoding_seconds")
    decoded = ("width", "height", "alpha", "frames", "thumbhash", "dominant_color", "decode_revision")
    statement = tx.insert(originals).values(
        tenant_id=tx.tenant,
        sha256=original.sha256,
        width=original.width,
        height=original.height,
        bytes=original.bytes,
        format=original.format,
        alpha=original.alpha,
        frames=original.frames,
        thumbhash=original.thumbhash,
        dominant_color=original.dominant_color,
        quality=original.quality,
        decoding_seconds=original.decoding_seconds,
        decode_revision=original.decode_revision,
        created_at=tx.now,
        unused_since=tx.now,
    )
    tx.connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "sha256"],
            set_={name: sa.func.coalesce(originals.c[name], statement.excluded[name]) for name in learnt}
            | {name: sa.func.coalesce(statement.excluded[name], originals.c[name]) for name in decoded}
            | {"unused_since": sa.case((originals.c.unused_since.is_(None), sa.null()), else_=tx.now)}
            # It has just been decoded.
            | {"failure": None, "failed_at": None},
        )
    )


def keep_original(tx: Tx, pack_id: str, original: Original, *, live: bool = False) -> None:
    """Protect an announced original from collection, because a location of that pack will use it.

    Args:
        live: it was uploaded through live resize, or is migrated from a live resize service. This mark stays.

    Raises:
        OSError: the original was collected or erased since it was announced.
    """
    conditions = (originals.c.tenant_id == tx.tenant, originals.c.sha256 == original.sha256)
    if not tx.connection.execute(sa.update(originals).where(*conditions).values(unused_since=None)).rowcount:
        raise OSError(f"The original {original.sha256} was removed while it was about to be shown.")
    statement = tx.insert(pack_originals).values(tenant_id=tx.tenant, pack_id=pack_id, sha256=original.sha256)
    tx.connection.execute(statement.on_conflict_do_nothing())
    if live:
        mark_live_originals(tx, [(pack_id, original.sha256)])


def mark_live_originals(tx: Tx, places: Collection[tuple[str, str]]) -> None:
    """Record that originals were uploaded through live resize, or are migrated from a live resize service.

    Args:
        places: pack id, and SHA-256 of an original that the pack has or had.
    """
    conditions = (pack_originals.c.tenant_id == tx.tenant, _is_any_of(places))
    tx.connection.execute(sa.update(pack_originals).where(*conditions).values(live=True))


def find_live_originals(tx: Tx, places: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those of these originals that `mark_live_originals` has recorded."""
    conditions = (pack_originals.c.tenant_id == tx.tenant, _is_any_of(places), pack_originals.c.live)
    found = tx.connection.execute(sa.select(pack_originals.c.pack_id, pack_originals.c.sha256).where(*conditions))
    return {(row.pack_id, row.sha256) for row in found}


def _is_any_of(places: Collection[tuple[str, str]]) -> sa.ColumnElement[bool]:
    return sa.tuple_(pack_originals.c.pack_id, pack_originals.c.sha256).in_(list(places))
