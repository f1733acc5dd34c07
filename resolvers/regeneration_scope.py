"""The scope of a regeneration, counted before it is ordered."""

from collections.abc import Sequence
from dataclasses import dataclass

from packshot.catalog.configuration.locations import get_locations
from packshot.catalog.configuration.tenants import get_tenant
from packshot.catalog.packs.packs import check_location
from packshot.catalog.packs.shapes import ShapeSample, read_packs, read_survey
from packshot.errors import NotFound
from packshot.variants.effect import Planner
from resolvers.caller import Caller

MAX_SHAPES = 512


@dataclass(frozen=True, slots=True)
class RegenerationScope:
    """The scope of a regeneration.

    Attributes:
        packs: packs with planned variants at the locations.
        variants: the planned variants of these packs.
    """

    packs: int
    variants: int


def measure(caller: Caller, *, pack_ids: Sequence[str] | None = None, location: str | None = None) -> RegenerationScope:
    """Count the packs and variants of a regeneration. Changes nothing.

    Exact for up to 512 shapes of packs. Beyond that it is estimated from a sample, as in a change plan.

    Args:
        pack_ids: None: every pack of the tenant.
        location: None: every location.

    Raises:
        NotFound: one of them is no pack or no location of this tenant.
    """
    with caller.site.catalog.read(caller.tenant) as tx:
        tenant, locations = get_tenant(tx), get_locations(tx)
        if location is not None:
            check_location(tx, location, "scope", "location")
        if pack_ids is None:
            stands = read_survey(tx, MAX_SHAPES).shapes
        else:
            stands = [ShapeSample(pack_id, 1.0) for pack_id in dict.fromkeys(pack_ids)]
        snapshots = read_packs(tx, [stand.pack_id for stand in stands], tenant, locations)
    names, planner = list(locations) if location is None else [location], Planner(caller.site.limit)
    packs = variants = 0.0
    for stand in stands:
        if stand.pack_id not in snapshots:
            raise NotFound("There is no such pack.", field=("scope", "pack_ids"), got=stand.pack_id)
        standings = [planner.at(snapshots[stand.pack_id], name) for name in names]
        planned = sum(len(standing.variants) for standing in standings if standing is not None)
        packs += stand.packs * bool(planned)
        variants += stand.packs * planned
    return RegenerationScope(round(packs), round(variants))
