"""The image endpoints: immutable URLs by key, stable URLs by pack."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from packshot.model import Format, Snapshot
from packshot.production import find_variant
from packshot.site import Site
from packshot.variants.key import Key
from packshot.variants.request import RequestForm
from packshot.variants.resolve import Target, is_planned, negotiates, resolve, retarget
from resolvers.urls.build import Urls, immutable_path
from resolvers.urls.parse import Address
from serve.http.negotiation import accepted_by
from serve.image.caching import BRIEF, COMMON, describe_immutable, describe_stable
from serve.image.demand import DemandCounter
from serve.image.erased import Erased, read_shown
from serve.image.fallback import Fallback
from serve.image.guard import AccessGuard
from serve.image.memory_cache import CachedImage, MemoryCache
from serve.image.public_routes import public_route
from serve.image.recency import Recency
from serve.image.sendable import Sendable
from serve.image.sending import Conditions, open_sendable, send

# How often an answer starts again because the pack was edited during the render.
RESTARTS = 5
THREADS = 40


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A variant of a pack in its current state.

    Attributes:
        upscale: enlarge small originals, whether or not the location allows it.
        redirect: builds the response if the variant is already stored; None: the response has the bytes.
        proxy: send the bytes from this process, even if the setting for delivery says otherwise.
        varies: whether the format was negotiated before; None: the form and the tenant's policy decide.
        opened: the client has shown an access key or a signature.
    """

    tenant: str
    pack_id: str
    form: RequestForm
    opened: bool
    upscale: bool = False
    redirect: Callable[[Target], Response] | None = None
    proxy: bool = False
    varies: bool | None = None


@dataclass(frozen=True, slots=True)
class FoundImage:
    """The variant that a stable URL means now, and its bytes if it is stored.

    Attributes:
        planned: whether the variant is planned; only set if it is not stored.
    """

    target: Target
    sendable: Sendable | None
    varies: bool
    planned: bool = False


class Images:
    """Serves variants from the store, and renders missing ones."""

    def __init__(self, site: Site, demand: DemandCounter, recency: Recency, access_guard: AccessGuard) -> None:
        self._site = site
        self._recency = recency
        self._access_guard = access_guard
        self._find_immutable = access_guard.protect(self.immutable)
        self._demand = demand
        self._fallback = Fallback(site)
        self._erased = Erased(site)
        self._hot = MemoryCache(site.settings.hot_bytes)
        self._delivery = site.settings.delivery
        # A silent store may block these threads, but none that the admin side needs.
        self._threads = anyio.CapacityLimiter(THREADS)
        self._bodies = anyio.CapacityLimiter(THREADS)
        stable = access_guard.protect(self.stable)
        self.routes = [
            public_route("/i/{key:path}", self.recall),
            public_route("/api/v2/img/{pack}", stable),
            public_route("/api/v2/img/{tenant}/{pack}", stable),
        ]

    async def recall(self, request: Request) -> Response:
        """Answer an immutable URL from the memory cache if the tenant requires no access key."""
        hot = self._hot.get(_place(request))
        if (
            hot is not None
            # Immutable URLs have no query. A URL with one takes the full path.
            and not request.scope["query_string"]
            and self._access_guard.is_open(hot.tenant)
            and self._erased.may_be_erased(hot.tenant, hot.pack)
        ):
            return self._answer(hot.sendable, Conditions.of(request), hot.headers, stable=False)
        return await self._find_immutable(request)

    async def immutable(self, request: Request, address: Address, urls: Urls) -> Response:
        """Answer an immutable URL with the bytes under its key, which caches keep for a year.

        A superseded variant is served while it is stored. After that the URL redirects to the current variant, and
        never gives other bytes.
        """
        key, conditions = address.key, Conditions.of(request)
        assert key is not None
        open_ = partial(self._open_immutable, key, conditions)
        found = await anyio.to_thread.run_sync(open_, limiter=self._threads)
        if found is None:
            retarget_ = partial(self._retarget, key, opened=address.opened)
            target, is_ahead = await anyio.to_thread.run_sync(retarget_, limiter=self._threads)
            if target.key != key:
                place = replace(urls, origin=urlsplit(urls.origin).path).immutable(target.key)
                return RedirectResponse(place, 302, {"Cache-Control": "no-store"} | COMMON)
            found = await self._fallback.make(target, planned=is_ahead)
        if found is None:
            found = await anyio.to_thread.run_sync(open_, limiter=self._threads)
        if found is None:
            raise OSError(f"The object {key} vanished after it was stored.")
        kept = CachedImage(found, _brief(found, describe_immutable(self._site, key)), key.tenant, key.pack)
        if (
            not request.scope["query_string"]
            and isinstance(found.body, bytes)
            and self._access_guard.is_open(key.tenant)
        ):
            self._hot.put(_place(request), kept)
        return self._answer(found, conditions, kept.headers, stable=False)

    def _open_immutable(self, key: Key, conditions: Conditions) -> Sendable | None:
        self._erased.refuse_under_way(key.tenant, key.pack)
        found = self._open(str(key), conditions, stable=False)
        if found is not None:
            self._recency.note(str(key))
        return found

    def _retarget(self, key: Key, *, opened: bool) -> tuple[Target, bool]:
        snapshot, limit = self._read(key.tenant, key.pack), self._site.limit
        target = retarget(snapshot, key, limit=limit, live=self._site.settings.live, opened=opened)
        return target, is_planned(snapshot, target, limit=limit)

    def _read(self, tenant: str, pack_id: str) -> Snapshot:
        with self._site.catalog.read(tenant) as tx:
            return read_shown(tx, pack_id)

    async def stable(self, request: Request, address: Address, urls: Urls) -> Response:
        """Answer a stable URL with the variant that it means now."""
        assert isinstance(address.form, RequestForm)
        return await self.show(request, ImageRequest(address.tenant, address.pack_id, address.form, address.opened))

    async def show(self, request: Request, asked: ImageRequest) -> Response:
        """Answer with the current variant. Renders it if it is missing."""
        # Dates have a resolution of one second, in which a stable URL may change.
        accept, conditions = accepted_by(request), Conditions.of(request).without_dates()
        find = partial(self._find, asked, accept, conditions)
        found = made = await anyio.to_thread.run_sync(find, limiter=self._threads)
        if found.sendable is not None and asked.redirect is not None:
            return asked.redirect(found.target)
        find = partial(self._find, replace(asked, redirect=None), accept, conditions)
        for _ in range(RESTARTS):
            if found.sendable is not None:
                break
            counted = partial(self._count, asked, found)
            unkept = await self._fallback.make(found.target, counted, planned=found.planned)
            # Resolve the URL again: an edit may have come in during the render.
            made, found = found, await anyio.to_thread.run_sync(find, limiter=self._threads)
            if unkept is not None:
                made = replace(made, sendable=unkept)
                if found.sendable is None and found.target.key == made.target.key:
                    found = made
        if found.sendable is not None:
            headers = _brief(found.sendable, describe_stable(self._site, found.target, varies=found.varies))
            return self._answer(found.sendable, conditions, headers, stable=not asked.proxy)
        # The pack is edited faster than it is rendered. The last render was correct after this request arrived, so it
        # answers this request, but caches must not give it to others.
        open_ = partial(self._open, str(made.target.key), conditions, stable=not asked.proxy)
        sendable = made.sendable or await anyio.to_thread.run_sync(open_, limiter=self._threads)
        if sendable is None:
            raise OSError(f"The object {made.target.key} vanished after it was stored.")
        headers = describe_stable(self._site, made.target, varies=made.varies) | {"Cache-Control": "no-store"}
        return self._answer(sendable, conditions, headers, stable=not asked.proxy)

    def _find(self, asked: ImageRequest, accept: frozenset[Format], conditions: Conditions) -> FoundImage:
        snapshot = self._read(asked.tenant, asked.pack_id)
        limit, opened = self._site.limit, asked.opened
        target = resolve(snapshot, asked.form, limit=limit, accept=accept, upscale=asked.upscale, opened=opened)
        varies = negotiates(snapshot, asked.form) if asked.varies is None else asked.varies
        if asked.redirect is None:
            sendable = self._open(str(target.key), conditions, stable=not asked.proxy)
        else:
            # A redirect needs no bytes.
            stored = find_variant(self._site, str(target.key))
            sendable = None if stored is None else Sendable(stored)
        if sendable is not None:
            self._recency.note(str(target.key))
            return FoundImage(target, sendable, varies)
        return FoundImage(target, None, varies, is_planned(snapshot, target, limit=limit))

    def _count(self, asked: ImageRequest, found: FoundImage) -> None:
        """Count a request for a variant that is not planned."""
        # Planned variants are never upscaled beyond what a location allows.
        if not found.planned and not (asked.upscale and found.target.upscaled):
            self._demand.count(asked.form, found.target)

    def _open(self, key: str, conditions: Conditions, *, stable: bool) -> Sendable | None:
        """Find a variant, and open it if this process sends its bytes."""
        delivery = self._delivery_of(key)
        if delivery == "stream" or (delivery == "redirect" and not stable):
            return open_sendable(self._site, key, conditions)
        stored = find_variant(self._site, key)
        return None if stored is None else Sendable(stored)

    def _delivery_of(self, key: str) -> str:
        # Private images are sent by the application only.
        return "stream" if self._site.access_policy.is_private_cached(key.partition("/")[0]) else self._delivery

    def _answer(
        self, sendable: Sendable, conditions: Conditions, headers: Mapping[str, str], *, stable: bool
    ) -> Response:
        key = sendable.stored.key
        # Only this process has a variant that is not stored.
        sent, delivery = {**COMMON, **headers}, self._delivery_of(key) if sendable.is_kept else "stream"
        if delivery == "redirect" and stable:
            return RedirectResponse(immutable_path(self._site.settings, key), 302, sent)
        if delivery == "accel" and not conditions.is_unchanged(sendable.stored):
            sent["X-Accel-Redirect"] = f"{self._site.settings.accel_prefix}{key}"
        return send(sendable, conditions, sent, self._bodies)


def _brief(sendable: Sendable, headers: Mapping[str, str]) -> Mapping[str, str]:
    return headers if sendable.is_recorded else {**headers, "Cache-Control": BRIEF}


def _place(request: Request) -> tuple[str, str]:
    return request.headers.get("host", ""), request.scope["path"]
