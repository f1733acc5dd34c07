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

# An edit that comes in while its picture is rendered starts the answer over, so often at most.
RESTARTS = 5
THREADS = 40


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """Which picture of which pack is to be shown as it is at this moment.

    Attributes:
        upscale: it is enlarged where that takes it, whether its location allows that or not.
        lead: gives the answer instead of the bytes, where the variant was there before.
        proxy: the bytes are sent from here, however others are delivered.
        varies: the format was negotiated before; None: the form and the tenant's policy tell.
        opened: whoever asks has shown an access key, or a signature made with one.
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
    """What a stable URL means now, and the variant where it is there already.

    Attributes:
        planned: it is one of those that are rendered ahead of time; told where it is not there.
    """

    target: Target
    sendable: Sendable | None
    varies: bool
    planned: bool = False


class Images:
    """Serves variants from the store, and renders what is missing."""

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
        # A store that is silent may hold these threads, but none that the admin side needs.
        self._threads = anyio.CapacityLimiter(THREADS)
        self._bodies = anyio.CapacityLimiter(THREADS)
        stable = access_guard.protect(self.stable)
        self.routes = [
            public_route("/i/{key:path}", self.recall),
            public_route("/api/v2/img/{pack}", stable),
            public_route("/api/v2/img/{tenant}/{pack}", stable),
        ]

    async def recall(self, request: Request) -> Response:
        """Answer an immutable URL by what was sent of late, if everybody may see it."""
        hot = self._hot.get(_place(request))
        if (
            hot is not None
            # An immutable URL has no query, so whatever has one is looked at closely.
            and not request.scope["query_string"]
            and self._access_guard.is_open(hot.tenant)
            and self._erased.may_be_erased(hot.tenant, hot.pack)
        ):
            return self._answer(hot.sendable, Conditions.of(request), hot.headers, stable=False)
        return await self._find_immutable(request)

    async def immutable(self, request: Request, address: Address, urls: Urls) -> Response:
        """Answer an immutable URL: the bytes under that key, for a year.

        A key whose picture has been replaced is served while its blob exists;
        after that it leads to the current one, never to other bytes.
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
            raise OSError(f"The object {key} vanished after it was put.")
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
        """Answer a stable URL with the variant that it means at this moment."""
        assert isinstance(address.form, RequestForm)
        return await self.show(request, ImageRequest(address.tenant, address.pack_id, address.form, address.opened))

    async def show(self, request: Request, asked: ImageRequest) -> Response:
        """Answer with the variant that is meant at this moment; it is made where it is missing."""
        # A stable URL may give another picture within the second that a date is of.
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
            # Looked up anew: the picture that was made is the answer only if no edit came in meanwhile.
            made, found = found, await anyio.to_thread.run_sync(find, limiter=self._threads)
            if unkept is not None:
                made = replace(made, sendable=unkept)
                if found.sendable is None and found.target.key == made.target.key:
                    found = made
        if found.sendable is not None:
            headers = _brief(found.sendable, describe_stable(self._site, found.target, varies=found.varies))
            return self._answer(found.sendable, conditions, headers, stable=not asked.proxy)
        # Edited faster than it can be rendered. What was made last was right after the question came in, so it
        # is an answer to that; but to nobody else's.
        open_ = partial(self._open, str(made.target.key), conditions, stable=not asked.proxy)
        sendable = made.sendable or await anyio.to_thread.run_sync(open_, limiter=self._threads)
        if sendable is None:
            raise OSError(f"The object {made.target.key} vanished after it was put.")
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
            # Whoever is led elsewhere gets the bytes there.
            stored = find_variant(self._site, str(target.key))
            sendable = None if stored is None else Sendable(stored)
        if sendable is not None:
            self._recency.note(str(target.key))
            return FoundImage(target, sendable, varies)
        return FoundImage(target, None, varies, is_planned(snapshot, target, limit=limit))

    def _count(self, asked: ImageRequest, found: FoundImage) -> None:
        """Count what had to be rendered, and would not have been ahead of time."""
        # Ahead of time only what a location allows is rendered.
        if not found.planned and not (asked.upscale and found.target.upscaled):
            self._demand.count(asked.form, found.target)

    def _open(self, key: str, conditions: Conditions, *, stable: bool) -> Sendable | None:
        """Find a variant, and open it where this process is to send its bytes."""
        delivery = self._delivery_of(key)
        if delivery == "stream" or (delivery == "redirect" and not stable):
            return open_sendable(self._site, key, conditions)
        stored = find_variant(self._site, key)
        return None if stored is None else Sendable(stored)

    def _delivery_of(self, key: str) -> str:
        # What is kept out of everybody's sight nobody but the application can send.
        return "stream" if self._site.access_policy.is_private_cached(key.partition("/")[0]) else self._delivery

    def _answer(
        self, sendable: Sendable, conditions: Conditions, headers: Mapping[str, str], *, stable: bool
    ) -> Response:
        key = sendable.stored.key
        # What is not in the store nobody else can send.
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
