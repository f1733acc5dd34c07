"""Packs: read, list, create, edit, delete and erase them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packshot.catalog.configuration.snapshots import read_snapshot, read_snapshots
from packshot.catalog.database.pages import Page
from packshot.catalog.database.transaction import Tx
from packshot.catalog.packs import listing, packs
from packshot.catalog.packs.listing import PackFilter, PackOrder
from packshot.catalog.variants import ledger, tombstones
from packshot.catalog.variants.ledger import Entry
from packshot.catalog.work import url_imports
from packshot.catalog.work.jobs import Job
from packshot.errors import BadState, Invalid, PackshotError
from packshot.geometry import Crop
from packshot.maintenance.erase import order_erasure, set_tombstone
from packshot.model import Focus, IncludeAll, Pack, Snapshot
from packshot.variants.key import Key
from resolvers.caller import Answer, Caller
from resolvers.orders import order_packs, ring_doorbell
from resolvers.pictures import Layout, Picture, assemble

# Values of a pack that affect how its variants look.
SHOWN_BY = {"main_location", "resize_gravity", "include_all"}


@dataclass(frozen=True, slots=True)
class PackLocationPatch:
    """An edit of one pack location.

    Attributes:
        values: crop, focus, resize_gravity, include_all. An absent value stays, None clears it.
        at: path of the patch among the arguments, for refusals.
    """

    location: str
    values: Mapping[str, Any]
    at: tuple[str, ...] = ()


def find_pack(
    caller: Caller, *, id: str | None = None, asset_id: int | None = None, external_id: str | None = None
) -> str | None:
    """Return the pack id for an id, asset id or external id; None: there is no such pack."""
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
    total: bool = True,
) -> Page[Pack]:
    """Return a page of the tenant's packs."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return listing.list_packs(tx, first=first, after=after, filter=filter or PackFilter(), order=order, total=total)


def load_snapshots(caller: Caller, pack_ids: Sequence[str]) -> dict[str, Snapshot]:
    """Return the snapshots of those packs that exist, in one statement."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return read_snapshots(tx, pack_ids)


def load_pictures(
    caller: Caller, lay_out: Sequence[Callable[[], Layout | None]], known: dict[str, Entry | None]
) -> list[Picture | Exception | None]:
    """Return pictures, and read their variants in one statement. An exception takes the place of its picture.

    Args:
        lay_out: functions that return the layouts; None: nothing to show.
        known: see `load_entries`.
    """
    layouts = [_outcome(each) for each in lay_out]
    keys = [key for layout in layouts if isinstance(layout, Layout) for key in layout.keys]
    entries, urls = load_entries(caller, keys, known), caller.urls
    return [assemble(layout, entries, urls) if isinstance(layout, Layout) else layout for layout in layouts]


def _outcome(lay_out: Callable[[], Layout | None]) -> Layout | Exception | None:
    try:
        return lay_out()
    except Exception as error:  # noqa: BLE001 - raised where it belongs; it costs no other picture of the page
        return error


def load_entries(caller: Caller, keys: Sequence[Key], known: dict[str, Entry | None]) -> Mapping[str, Entry | None]:
    """Return the ledger's rows of at least these variants by key, read in one statement; None: no row.

    Args:
        known: rows that were read earlier for the same response. They are not read again, and new ones are added.
    """
    missing = {text: key for key in keys if (text := str(key)) not in known}
    if missing:
        with caller.site.catalog.read(caller.tenant) as tx:
            found = ledger.read_entries(tx, missing.values())
        known |= {text: found.get(text) for text in missing}
    return known


def create_pack(caller: Caller, values: Mapping[str, Any]) -> Snapshot:
    """Create a pack. It has no original yet, so nothing is rendered.

    Raises:
        Taken, Invalid, NotFound: see `packshot.catalog.packs.packs.create_pack`.
    """
    with caller.write() as tx:
        pack_id = packs.create_pack(tx, values)
        caller.record(tx, Answer(pack=pack_id))
        return read_snapshot(tx, pack_id)


def update_pack(
    caller: Caller,
    pack_id: str,
    values: Mapping[str, Any],
    pack_locations: Sequence[PackLocationPatch] = (),
    *,
    expected_version: int | None = None,
) -> tuple[Snapshot, Job | None]:
    """Edit a pack, and order its variants if they may look different.

    Args:
        pack_locations: edits of its pack locations, each location once.

    Raises:
        NotFound, Taken, Invalid, VersionConflict: see `packs.update_pack` and `edit_pack_locations`.
    """
    columns = _columns_of(pack_locations)
    with caller.write() as tx:
        packs.update_pack(
            tx, pack_id, values, cause=f"updatePack by {caller.subject}", expected_version=expected_version
        )
        _set_pack_locations(tx, pack_id, pack_locations, columns)
        job = None
        if pack_locations or values.keys() & SHOWN_BY:
            job = order_packs(tx, caller.site, [pack_id], by=caller.subject)
        caller.record(tx, Answer(pack=pack_id, job=job))
        snapshot = read_snapshot(tx, pack_id)
    if job is not None:
        ring_doorbell(caller, [pack_id])
    return snapshot, job


def delete_pack(caller: Caller, pack_id: str, *, expected_version: int | None = None) -> None:
    """Delete a pack at once. Its immutable URLs work until the grace period ends.

    Raises:
        NotFound: no such pack in this tenant.
        VersionConflict: the pack's version is not `expected_version`.
    """
    with caller.write() as tx:
        packs.delete_pack(tx, pack_id, cause=f"deletePack by {caller.subject}", expected_version=expected_version)
        caller.record(tx, Answer(deleted_id=pack_id))


def erase_pack(caller: Caller, pack_id: str, reason: str) -> Job:
    """Erase a pack for good, also one that was deleted. Return the job that does it.

    Raises:
        Invalid: the reason is empty or too long.
        NotFound: there is no such pack in this tenant.
        Gone: the pack was erased before.
    """
    tombstone, originals = set_tombstone(caller.site, caller.tenant, pack_id, reason=reason, by=caller.subject)
    with caller.write() as tx:
        tombstones.refuse_erased(tx, [pack_id], field=("id",))
        job = order_erasure(tx, tombstone, originals)
        caller.record(tx, Answer(job=job))
    caller.doorbell.wake()
    return job


def edit_pack_locations(
    caller: Caller,
    pack_id: str,
    patches: Sequence[PackLocationPatch],
    *,
    expected_version: int | None = None,
) -> tuple[Snapshot, Job]:
    """Edit pack locations, all or none, and order the pack's variants.

    The order commits together with the edits. Until it is carried out, the fallback renders the new variants.

    Raises:
        Invalid: no patch, two of one location, or a crop or focus outside the image.
        NotFound: no such pack or location in this tenant.
        VersionConflict: the pack's version is not `expected_version`.
    """
    return _edit(caller, pack_id, patches, None, expected_version)


def _edit(
    caller: Caller,
    pack_id: str,
    patches: Sequence[PackLocationPatch],
    shown_location: str | None,
    expected_version: int | None,
) -> tuple[Snapshot, Job]:
    """Do the work of `edit_pack_locations`.

    Args:
        shown_location: the one pack location that the answer shows; None: it shows the pack.
    """
    columns = _columns_of(patches)
    if not columns:
        raise Invalid("There is nothing to change.", field=("inputs",), expected="at least one", got=0)
    cause = f"edit of {', '.join(columns)} by {caller.subject}"
    with caller.write() as tx:
        packs.touch_pack(tx, pack_id, cause=cause, expected_version=expected_version)
        _set_pack_locations(tx, pack_id, patches, columns)
        job = order_packs(tx, caller.site, [pack_id], by=caller.subject)
        caller.record(tx, Answer(pack=pack_id, pack_location=shown_location, job=job))
        snapshot = read_snapshot(tx, pack_id)
    ring_doorbell(caller, [pack_id])
    return snapshot, job


def _columns_of(patches: Sequence[PackLocationPatch]) -> dict[str, dict[str, Any]]:
    columns: dict[str, dict[str, Any]] = {}
    for index, patch in enumerate(patches):
        try:
            columns[patch.location] = pack_location_values(patch.values)
        except PackshotError as error:
            raise error.at(*patch.at) from None
        if len(columns) <= index:
            raise Invalid(
                "A location can be changed once.",
                field=(*patch.at, "location"),
                expected="each location once",
                got=patch.location,
            )
    return columns


def _set_pack_locations(
    tx: Tx, pack_id: str, patches: Sequence[PackLocationPatch], columns: Mapping[str, Mapping[str, Any]]
) -> None:
    for patch in patches:
        try:
            packs.set_pack_location(tx, pack_id, patch.location, columns[patch.location])
        except PackshotError as error:
            raise error.at(*patch.at) from None


def edit_pack_location(
    caller: Caller, pack_id: str, patch: PackLocationPatch, *, expected_version: int | None = None
) -> tuple[Snapshot, Job]:
    """Edit one pack location; see `edit_pack_locations`."""
    return _edit(caller, pack_id, [patch], patch.location, expected_version)


def set_crop(
    caller: Caller, pack_id: str, location: str, crop: Crop, *, expected_version: int | None = None
) -> tuple[Snapshot, Job]:
    """Set the crop of one pack location; see `edit_pack_locations`."""
    return edit_pack_location(
        caller, pack_id, PackLocationPatch(location, {"crop": crop}), expected_version=expected_version
    )


def remove_original(
    caller: Caller, pack_id: str, location: str, *, expected_version: int | None = None
) -> tuple[Snapshot, Job]:
    """Remove a pack location's own original. Its crop and other settings stay.

    Raises:
        NotFound: no such pack or location in this tenant.
        BadState: the pack location has no original of its own.
        VersionConflict: the pack's version is not `expected_version`.
    """
    with caller.write() as tx:
        cause = f"removeOriginal by {caller.subject}"
        packs.touch_pack(tx, pack_id, cause=cause, expected_version=expected_version)
        packs.check_location(tx, location, "location")
        if read_snapshot(tx, pack_id).pack_location(location).original is None:
            raise BadState(
                "This pack has no original of its own at this location.",
                field=("location",),
                expected="a location with an original",
                got=location,
            )
        url_imports.cancel_import(tx, pack_id, location)
        packs.set_pack_location(tx, pack_id, location, {"original_sha256": None, "original_at": None})
        job = order_packs(tx, caller.site, [pack_id], by=caller.subject)
        caller.record(tx, Answer(pack=pack_id, pack_location=location, job=job))
        snapshot = read_snapshot(tx, pack_id)
    ring_doorbell(caller, [pack_id])
    return snapshot, job


def pack_location_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns of a patch; None clears a value."""
    columns = dict(values)
    if "crop" in values:
        crop = columns.pop("crop")
        if crop is not None:
            check_crop(crop)
        edges = ("left", "top", "right", "bottom")
        columns |= {f"crop_{edge}": None if crop is None else getattr(crop, edge) for edge in edges}
    if "focus" in values:
        focus = columns.pop("focus")
        if focus is not None:
            check_focus(focus)
        columns |= {f"focus_{axis}": None if focus is None else getattr(focus, axis) for axis in ("x", "y")}
    if "include_all" in values and columns["include_all"] is None:
        columns["include_all"] = IncludeAll.UNSET
    return columns


def check_focus(focus: Focus) -> None:
    """Raise `Invalid` unless the focus lies on the image."""
    for name, value in (("x", focus.x), ("y", focus.y)):
        if not 0.0 <= value <= 1.0:
            raise Invalid(
                "A focus lies on the image: 0.0 is one edge, 1.0 the opposite one.",
                field=("focus", name),
                expected="0.0 to 1.0",
                got=value,
            )


def check_crop(crop: Crop) -> None:
    """Raise `Invalid` unless the crop lies on the image and is not empty."""
    names = ("top_left_x", "top_left_y", "bottom_right_x", "bottom_right_y")
    for name, value in zip(names, (crop.left, crop.top, crop.right, crop.bottom), strict=True):
        if not 0.0 <= value <= 1.0:
            raise Invalid(
                "A crop lies on the image: 0.0 is one edge, 1.0 the opposite one.",
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
