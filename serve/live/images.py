"""Serve live images: the name and size are one path segment, and the variants are those of stable URLs."""

from functools import partial

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from packshot.site import Site
from packshot.variants.live_request import LiveForm
from packshot.variants.resolve import Target
from resolvers import live_resize
from resolvers.urls.build import Urls
from resolvers.urls.parse import Address
from serve.http.negotiation import accepted_by
from serve.image.caching import COMMON, describe_redirect, redirects_to_cdn
from serve.image.guard import AccessGuard
from serve.image.images import ImageRequest, Images
from serve.live.originals import LiveOriginals

THREADS = 16


class LiveImages:
    """Serves an image in a requested size, or the original itself."""

    def __init__(self, site: Site, images: Images, access_guard: AccessGuard) -> None:
        self._site = site
        self._images = images
        self.get = access_guard.protect(self.show)
        # A silent store may block these threads, but none that the admin side needs.
        self._threads = anyio.CapacityLimiter(THREADS)
        self._originals = LiveOriginals(site, self._threads)

    async def show(self, request: Request, address: Address, urls: Urls) -> Response:
        """Answer with the image in the requested size, or with a redirect to it."""
        form = address.form
        assert isinstance(form, LiveForm)
        if form.size is None:
            return await self._originals.send(request, address.tenant, form.original_ids)
        pack_id = await anyio.to_thread.run_sync(self._find, address.tenant, form.image_id, limiter=self._threads)
        within = form.within(self._site.limit)
        if within is not form:
            return self._lead_within(request, within)
        leads = redirects_to_cdn(self._site, address.tenant) and not form.proxy
        asked = ImageRequest(
            address.tenant,
            pack_id,
            form.for_client(accepted_by(request)).request,
            address.opened,
            upscale=True,
            redirect=partial(self._lead_to_cdn, urls, varies=form.negotiates) if leads else None,
            proxy=form.proxy,
            varies=form.negotiates,
        )
        return await self._images.show(request, asked)

    def _find(self, tenant: str, image_id: str) -> str:
        with self._site.catalog.read(tenant) as tx:
            return live_resize.find_pack(tx, image_id)

    def _lead_to_cdn(self, urls: Urls, target: Target, *, varies: bool) -> Response:
        return _redirect(urls.immutable(target.key), describe_redirect(self._site, target.tags, varies=varies))

    def _lead_within(self, request: Request, within: LiveForm) -> Response:
        query, limit = request.scope["query_string"].decode("latin-1"), self._site.limit
        # Relative, because the path of the image at the CDN is unknown.
        place = within.name + (f"?{query}" if query else "")
        info = (
            f"Images are at most {limit.width} x {limit.height} pixels. This URL has the same ratio within the limit."
        )
        return _redirect(place, {"X-Redirect-Info": info, **describe_redirect(self._site)})


def _redirect(place: str, headers: dict[str, str]) -> Response:
    return Response(status_code=307, headers={"Location": place, **headers, **COMMON})
