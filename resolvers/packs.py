"""Packs: read, list, create, crop."""

from collections.abc import Mapping, Sequence
from typing import Any

from packshot.catalog import ledger, packs
from packshot.catalog.jobs import Job
from packshot.catalog.ledger import Entry
from packshot.catalog.packs import PackFilter, PackOrder
from packshot.catalog.pages import Page
from packshot.catalog.snapshots import read_snapshot, read_snapshots
from packshot.errors import Invalid
from packshot.geometry import Crop
from packshot.model import Pack, Snapshot
from resolvers.caller import Caller
from resolvers.ordering import order_packs, ring_for


def find_pack(
    caller: Caller, *, id: str | None = None, asset_id: int | None = None, external_id: str | None = None
) -> str | None:
    """Return the id of the pack with that id, asset id or external id; None: there is none."""
    with caller.site.catalog.read(caller.tenant) as tx:
        if id is not None:
            return id if read_snapshots(tx, [id]) else None
        return packs.find_pack(tx, asset_id=asset_id, external_id=external_id)


def list_packs(
    caller: Caller,
    *,
    first: int,
    after: str | None = None,
    filter: PackFilter | None = None,
    order: PackOrder = PackOrder.CREATED_DESC,
) -> Page[Pack]:
    """Return a page of the tenant's packs."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return packs.list_packs(tx, first=first, after=after, filter=filter or PackFilter(), order=order)


def load_snapshots(caller: Caller, pack_ids: Sequence[str]) -> dict[str, Snapshot]:
    """Return the snapshots of those packs that there are, in one statement."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return read_snapshots(tx, pack_ids)


def load_entries(caller: Caller, pack_ids: Sequence[str]) -> dict[str, Entry]:
    """Return the ledger's rows of those packs by key, in one statement."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return ledger.read_entries(tx, pack_ids)


def create_pack(caller: Caller, values: Mapping[str, Any]) -> Snapshot:
    """Make a pack; it has nothing to show yet, so nothing is rendered.

    Raises:
        Taken, Invalid, NotFound: see `packshot.catalog.packs.create_pack`.
    """
    with caller.write() as tx:
        pack_id = packs.create_pack(tx, values)
        caller.answer(pack=pack_id)
        return read_snapshot(tx, pack_id)


def set_crop(
    caller: Caller, pack_id: str, location: str, crop: Crop, *, expected_version: int | None = None
) -> tuple[Snapshot, Job]:
    """Set one pack location's crop and order its variants.

    The order is a row of the same transaction, so it exists exactly when the
    crop does; until it is carried out the fallback shows the new crop.

    Raises:
        Invalid: the rectangle leaves the picture, or is empty or inverted.
        NotFound: no such pack or location in this tenant.
        VersionConflict: the pack has moved on from `expected_version`.
    """
    check_crop(crop)
    columns = {
        "crop_left": crop.left,
        "crop_top": crop.top,
        "crop_right": crop.right,
        "crop_bottom": crop.bottom,
    }
    with caller.write() as tx:
        packs.touch_pack(tx, pack_id, expected_version=expected_version)
        packs.set_slot(tx, pack_id, location, columns)
        job = order_packs(tx, caller.site, [pack_id], by=caller.subject)
        caller.answer(pack_location=f"packLocation:{pack_id}:{location}", pack=pack_id, job=f"job:{job.id}")
        snapshot = read_snapshot(tx, pack_id)
    ring_for(caller, [pack_id])
    return snapshot, job


def check_crop(crop: Crop) -> None:
    """Raise `Invalid` unless the rectangle lies on the picture and has an area."""
    names = ("top_left_x", "top_left_y", "bottom_right_x", "bottom_right_y")
    for name, value in zip(names, (crop.left, crop.top, crop.right, crop.bottom), strict=True):
        if not 0.0 <= value <= 1.0:
            raise Invalid(
                "A crop lies on the picture: 0.0 is one edge, 1.0 the opposite one.",
                field=("crop", name),
                expected="0.0 to 1.0",
                got=value,
            )
    for low, high, name in ((crop.left, crop.right, names[2]), (crop.top, crop.bottom, names[3])):
        if low >= high:
            raise Invalid(
                "A crop's bottom right corner lies right of and below its top left one.",
                field=("crop", name),
                expected=f"more than {low}",
                got=high,
            )
