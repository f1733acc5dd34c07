"""Fetching whatever has an id."""

import re
from collections.abc import Awaitable, Callable

from packshot.errors import Invalid
from packshot.model import NAME, PACK_ID
from packshot.variants.key import parse_key
from packshot.variants.resolve import planned
from resolvers import tenants
from schema.context import Info
from schema.interfaces import Node
from schema.jobs import Job
from schema.locations import ImageLocation
from schema.packs import Pack, PackLocation
from schema.pictures import Variant
from schema.refusals import read
from schema.tenants import Tenant

_JOB_ID = re.compile(r"[0-9a-f]{24}")


async def load_node(info: Info, id: str) -> Node | None:
    """Return what has that id in the caller's tenant; None: nothing has, or it is no id."""
    if PACK_ID.fullmatch(id):
        return await load_pack(info, id)
    kind, _, rest = id.partition(":")
    load = {
        "location": _load_location,
        "job": _load_job,
        "packLocation": _load_slot,
        "tenant": _load_tenant,
        "variant": _load_variant,
    }
    return await load[kind](info, rest) if kind in load else None


async def load_pack(info: Info, id: str) -> Pack | None:
    """Return one pack."""
    snapshot = await info.context.loaders.snapshots.load(id)
    return None if snapshot is None else Pack.of(snapshot.pack)


async def _load_location(info: Info, name: str) -> ImageLocation | None:
    location = await info.context.loaders.locations.load(name) if NAME.fullmatch(name) else None
    return None if location is None else ImageLocation.of(location)


async def _load_job(info: Info, id: str) -> Job | None:
    job = await info.context.loaders.jobs.load(id) if _JOB_ID.fullmatch(id) else None
    return None if job is None else Job.of(job)


async def _load_tenant(info: Info, name: str) -> Tenant | None:
    caller = info.context.caller
    # Another tenant's id is one that nobody has.
    return Tenant.of(await read(lambda: tenants.get_tenant(caller))) if name == caller.tenant else None


async def _load_slot(info: Info, rest: str) -> PackLocation | None:
    pack_id, _, name = rest.partition(":")
    snapshot = await info.context.loaders.snapshots.load(pack_id) if PACK_ID.fullmatch(pack_id) else None
    return None if snapshot is None or name not in snapshot.locations else PackLocation.of(snapshot, name)


async def _load_variant(info: Info, rest: str) -> Variant | None:
    caller = info.context.caller
    try:
        key = parse_key(f"{caller.tenant}/{rest}")
    except Invalid:
        return None
    entries = await info.context.loaders.entries.load(key.pack) or {}
    entry = entries.get(str(key))
    if entry is None:
        # Planned, and nothing has been made of it yet.
        snapshot = await info.context.loaders.snapshots.load(key.pack)
        if snapshot is None or key not in {t.key for t in planned(snapshot, key.location, limit=caller.site.limit)}:
            return None
    return Variant.of(key, entry, caller.origin)


_LOADING: dict[str, Callable[[Info, str], Awaitable[Node | None]]] = {
    "location": _load_location,
    "job": _load_job,
    "packLocation": _load_slot,
    "tenant": _load_tenant,
    "variant": _load_variant,
}
