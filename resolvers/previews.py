"""Previews: the variants of an edit before it is made."""

from dataclasses import replace

from packshot.catalog.configuration.snapshots import read_snapshot
from packshot.catalog.packs import packs
from packshot.catalog.variants import ledger
from packshot.catalog.variants.ledger import FailedVariant, VariantState
from packshot.errors import NotFound, VersionConflict
from packshot.geometry import Crop
from packshot.model import Snapshot
from packshot.production import announce_and_render, find_variant, supersede_outdated
from packshot.render.processes.pool import Lane
from packshot.site import Site
from packshot.variants.draft import common_format
from packshot.variants.resolve import Target, planned, shown_at
from resolvers.caller import Caller
from resolvers.packs import check_crop


def preview_crop(
    caller: Caller, pack_id: str, location: str, crop: Crop, *, expected_version: int | None = None
) -> tuple[Snapshot, list[str]]:
    """Render what a pack location would show with this crop. Return the pack as it is, and the URLs of the previews.

    The variants are stored under the keys that they will have. So `set_crop` need not render them again. If the crop is
    never set, they count as superseded.

    Raises:
        Invalid: the rectangle leaves the image, or is empty or inverted.
        NotFound: no such pack or location in this tenant, or nothing to show at the location.
        VersionConflict: the pack's version is not `expected_version`.
        Unrenderable, RenderTimeout: the variant cannot be rendered.
    """
    check_crop(crop)
    site = caller.site
    with site.catalog.read(caller.tenant) as tx:
        snapshot = read_snapshot(tx, pack_id)
        packs.check_location(tx, location, "location")
    if expected_version not in (None, snapshot.pack.version):
        raise VersionConflict(
            "The pack has moved on.",
            field=("expected_version",),
            expected=str(snapshot.pack.version),
            got=expected_version,
            current_version=snapshot.pack.version,
            current_id=pack_id,
        )
    targets = _previewed(snapshot, location, crop, site)
    _draw(site, caller.tenant, pack_id, targets)
    return snapshot, [caller.urls.immutable(target.key) for target in targets]


def _previewed(snapshot: Snapshot, location: str, crop: Crop, site: Site) -> list[Target]:
    """Return each planned size in a format that every browser supports, the largest first."""
    pack_location = replace(snapshot.pack_location(location), crop=crop)
    changed = replace(snapshot, pack_locations={**snapshot.pack_locations, location: pack_location})
    shown = shown_at(changed, location)
    if shown is None:
        raise NotFound("This pack has nothing to show there.", field=("location",), got=location)
    common = common_format(shown.original)
    found = [target for target in planned(changed, location, limit=site.limit) if target.drawing.format is common]
    found = found or list(planned(changed, location, limit=site.limit))[:1]
    return sorted(found, key=lambda target: target.drawing.size, reverse=True)


def _draw(site: Site, tenant: str, pack_id: str, targets: list[Target]) -> None:
    with site.catalog.read(tenant) as tx:
        entries = ledger.read_entries(tx, [target.key for target in targets])
    missing = [target for target in targets if not _is_there(site, entries.get(str(target.key)), target)]
    outcomes = announce_and_render(site, missing, Lane.INTERACTIVE, planned=False)
    with site.catalog.write(tenant) as tx:
        ledger.record(tx, outcomes)
        supersede_outdated(tx, [pack_id], limit=site.limit)
    for outcome in outcomes:
        if isinstance(outcome, FailedVariant):
            raise outcome.error


def _is_there(site: Site, entry: ledger.Entry | None, target: Target) -> bool:
    ready = entry is not None and entry.state is VariantState.READY
    return ready and find_variant(site, str(target.key)) is not None
