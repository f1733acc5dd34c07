"""Fetch any object by its id."""

import re
from collections.abc import Awaitable, Callable

from packshot.errors import Invalid, NotFound
from packshot.geometry import Size
from packshot.ids import split_global_id
from packshot.model import NAME, PACK_ID, Snapshot
from packshot.site import Site
from packshot.variants.key import Key, parse_key
from packshot.variants.resolve import Target, planned, retarget
from resolvers import tenants, webhooks
from schema.base.interfaces import Node
from schema.base.refusals import read
from schema.request.context import Info
from schema.types.jobs import Job
from schema.types.locations import ImageLocation
from schema.types.packs import Pack, PackLocation
from schema.types.pictures import Variant
from schema.types.purges import Purge
from schema.types.tenants import Tenant
from schema.types.webhooks import Webhook, WebhookDelivery

_ROW_ID = re.compile(r"[0-9a-f]{24}")


async def load_node(info: Info, id: str) -> Node | None:
    """Return the object with that id in the caller's tenant; None if there is none, or the id is malformed."""
    if PACK_ID.fullmatch(id):
        return await load_pack(info, id)
    kind, own_id = split_global_id(id)
    load = _LOADING.get(kind)
    return None if load is None else await load(info, own_id)


async def load_pack(info: Info, id: str) -> Pack | None:
    """Return one pack."""
    snapshot = await info.context.loaders.snapshots.load(id)
    return None if snapshot is None else Pack.of(snapshot.pack)


async def _load_location(info: Info, name: str) -> ImageLocation | None:
    location = await info.context.loaders.locations.load(name) if NAME.fullmatch(name) else None
    return None if location is None else ImageLocation.of(location)


async def _load_job(info: Info, id: str) -> Job | None:
    job = await info.context.loaders.jobs.load(id) if _ROW_ID.fullmatch(id) else None
    return None if job is None else Job.of(job)


async def _load_purge(info: Info, id: str) -> Purge | None:
    purge = await info.context.loaders.purges.load(id) if _ROW_ID.fullmatch(id) else None
    return None if purge is None else Purge.of(purge)


async def _load_tenant(info: Info, name: str) -> Tenant | None:
    caller = info.context.caller
    # The id of another tenant gets the same answer as an unknown id.
    return Tenant.of(await read(info, lambda: tenants.get_tenant(caller))) if name == caller.tenant else None


async def _load_pack_location(info: Info, rest: str) -> PackLocation | None:
    pack_id, _, name = rest.partition(":")
    snapshot = await info.context.loaders.snapshots.load(pack_id) if PACK_ID.fullmatch(pack_id) else None
    return None if snapshot is None or name not in snapshot.locations else PackLocation.of(snapshot, name)


async def _load_variant(info: Info, rest: str) -> Variant | None:
    caller = info.context.caller
    try:
        key = parse_key(f"{caller.tenant}/{rest}")
    except Invalid:
        return None
    entry = (await info.context.loaders.entries.load([key])).get(str(key))
    snapshot = await info.context.loaders.snapshots.load(key.pack)
    target = None if snapshot is None else _current(caller.site, snapshot, key)
    if entry is None and (snapshot is None or target is None or not _is_planned(snapshot, key, caller.site.limit)):
        return None
    return Variant.of(key, entry, caller.urls, upscaled=target is not None and target.upscaled)


async def _load_webhook(info: Info, id: str) -> Webhook | None:
    caller = info.context.caller
    found = await read(info, lambda: webhooks.get_webhook(caller, id))
    return None if found is None else Webhook.of(found)


async def _load_delivery(info: Info, id: str) -> WebhookDelivery | None:
    caller = info.context.caller
    found = await read(info, lambda: webhooks.get_delivery(caller, id))
    return None if found is None else WebhookDelivery.of(found)


_LOADING: dict[str, Callable[[Info, str], Awaitable[Node | None]]] = {
    "delivery": _load_delivery,
    "job": _load_job,
    "location": _load_location,
    "packLocation": _load_pack_location,
    "purge": _load_purge,
    "tenant": _load_tenant,
    "variant": _load_variant,
    "webhook": _load_webhook,
}


def _current(site: Site, snapshot: Snapshot, key: Key) -> Target | None:
    """Return the current target of `key`; None if the variant is superseded."""
    try:
        target = retarget(snapshot, key, limit=site.limit, live=site.settings.live)
    except NotFound:
        return None
    return target if target.key == key else None


def _is_planned(snapshot: Snapshot, key: Key, limit: Size) -> bool:
    # It has not been rendered yet.
    return key in {target.key for target in planned(snapshot, key.location, limit=limit)}
