"""Live images: a name and a size in one path segment, drawn by what draws stable URLs."""

from functools import partial

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from packshot.errors import NotFound, OriginalLost
from packshot.make import DAMAGED
from packshot.site import Site, original_key
from packshot.storage.base import DamagedObject, NoSuchObject
from packshot.variants.live_request import LiveForm
from packshot.variants.resolve import Target, asked_location, nothing_to_show, shown_at
from packshot.variants.tags import purge_tags
from resolvers import live
from resolvers.addresses import Address
from resolvers.urls import Urls
from serve.access import Guard
from serve.caching import COMMON, describe_redirect, keep_stable, leads_to_cdn
from serve.erased import read_shown
from serve.images import Asked, Images
from serve.sendable import Sendable
from serve.sending import Conditions, send

THREADS = 16


class LiveImages:
    """Two kinds of URL: an image in a size, and the original itself."""

    def __init__(self, site: Site, images: Images, guard: Guard) -> None:
        self._site = site
        self._images = images
        self.get = guard(self.show)
        # A store that is silent may hold these threads, but none that the admin side needs.
        self._threads = anyio.CapacityLimiter(THREADS)

    async def show(self, request: Request, address: Address, urls: Urls) -> Response:
        """Answer with the image in the size that is asked for, or lead to where that is."""
        form = address.form
        assert isinstance(form, LiveForm)
        if form.size is None:
            return await self._send_original(request, address.tenant, form.image_id)
        within = form.within(self._site.limit)
        if within is not form:
            return self._lead_within(request, within)
        pack_id = await anyio.to_thread.run_sync(self._find, address.tenant, form.image_id, limiter=self._threads)
        lead = partial(self._lead_to_cdn, urls) if leads_to_cdn(self._site, address.tenant) else None
        return await self._images.show(
            request, Asked(address.tenant, pack_id, form.request, address.opened, upscale=True, lead=lead)
        )

    def _find(self, tenant: str, image_id: str) -> str:
        with self._site.catalog.read(tenant) as tx:
            return live.find_pack(tx, image_id)

    def _lead_to_cdn(self, urls: Urls, target: Target) -> Response:
        return _redirect(urls.immutable(target.key), describe_redirect(self._site, target.tags))

    def _lead_within(self, request: Request, within: LiveForm) -> Response:
        query, limit = request.scope["query_string"].decode("latin-1"), self._site.limit
        # Relative, as nobody knows under which folder a CDN has this one.
        place = within.name + (f"?{query}" if query else "")
        said = f"Images are at most {limit.width} x {limit.height} pixels large. This leads to the equal one within."
        return _redirect(place, {"X-Redirect-Info": said, **describe_redirect(self._site)})

    async def _send_original(self, request: Request, tenant: str, image_id: str) -> Response:
        conditions = Conditions.of(request).without_dates()
        open_ = partial(self._open_original, tenant, image_id, conditions)
        sendable, headers = await anyio.to_thread.run_sync(open_, limiter=self._threads)
        return send(sendable, conditions, {**COMMON, **headers}, self._threads)

    def _open_original(self, tenant: str, image_id: str, conditions: Conditions) -> tuple[Sendable, dict[str, str]]:
        if not self._site.settings.live_originals:
            raise NotFound("Originals are not given out here.", expected="<id>_<width>_<height>.<ext>", got=image_id)
        with self._site.catalog.read(tenant) as tx:
            snapshot = read_shown(tx, live.find_pack(tx, image_id))
        location, _ = asked_location(snapshot, None)
        shown = shown_at(snapshot, location)
        if shown is None:
            raise nothing_to_show(location)
        headers = keep_stable(self._site, purge_tags(tenant, snapshot.pack.id, shown.consulted))
        store, key = self._site.originals, original_key(tenant, shown.original.sha256)
        try:
            if conditions.head or conditions.may_be_unchanged:
                stored = store.head(key)
                if stored is None:
                    raise NoSuchObject(key)
                if conditions.head or conditions.is_unchanged(stored):
                    return Sendable(stored), headers
            opened = store.open(key)
        except DamagedObject:
            raise OriginalLost(DAMAGED) from None
        except NoSuchObject:
            raise NotFound("The original is missing from its store.", expected="another image", got=image_id) from None
        return Sendable(opened.stored, opened), headers


def _redirect(place: str, headers: dict[str, str]) -> Response:
    return Response(status_code=307, headers={"Location": place, **headers, **COMMON})
