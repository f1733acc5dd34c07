"""The image endpoints: immutable URLs by key, stable URLs by pack."""

from dataclasses import dataclass, replace
from email.utils import format_datetime, parsedate_to_datetime
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from packshot.make import find_variant
from packshot.model import Format, Snapshot
from packshot.site import Site
from packshot.storage.base import CHUNK_BYTES, Stored
from packshot.variants.key import Key
from packshot.variants.request import RequestForm
from packshot.variants.resolve import Target, negotiates, planned, resolve, retarget
from serve.auth import address_of
from serve.bodies import read_chunks
from serve.caching import COMMON, describe_immutable, describe_stable
from serve.demand import DemandCounter
from serve.erased import Erased, read_shown
from serve.fallback import Fallback

# An edit that comes in while its picture is rendered starts the answer over, so often at most.
RESTARTS = 5
THREADS = 40
# White space in a header (RFC 9110, section 5.6.3).
_BLANK = " \t"


@dataclass(frozen=True, slots=True)
class Found:
    """What a stable URL means now, and the stored variant where it is there already.

    Attributes:
        planned: it is rendered ahead of time; only known where it is not there.
    """

    target: Target
    stored: Stored | None
    varies: bool
    planned: bool = False


class Images:
    """Serves variants from the store, and renders what is missing."""

    def __init__(self, site: Site, demand: DemandCounter) -> None:
        self._site = site
        self._demand = demand
        self._fallback = Fallback(site)
        self._erased = Erased(site)
        # A store that is silent may hold these threads, but none that the admin side needs.
        self._threads = anyio.CapacityLimiter(THREADS)
        self._bodies = anyio.CapacityLimiter(THREADS)
        self.routes = [
            Route("/i/{key:path}", self.immutable, methods=["GET"]),
            Route("/api/v2/img/{pack}", self.stable, methods=["GET"]),
            Route("/api/v2/img/{tenant}/{pack}", self.stable, methods=["GET"]),
        ]

    async def immutable(self, request: Request) -> Response:
        """Answer an immutable URL: the bytes under that key, for a year.

        A key whose picture has been replaced is served while its blob exists;
        after that it leads to the current one, never to other bytes.
        """
        key = address_of(self._site, request).key
        assert key is not None
        stored = await anyio.to_thread.run_sync(self._find_stored, key, limiter=self._threads)
        if stored is None:
            target = await anyio.to_thread.run_sync(self._retarget, key, limiter=self._threads)
            if target.key != key:
                return RedirectResponse(f"/i/{target.key}", 302, {"Cache-Control": "no-store"} | COMMON)
            stored = await self._fallback.fetch(target)
        return await self._answer(request, stored, describe_immutable(self._site, key))

    def _find_stored(self, key: Key) -> Stored | None:
        self._erased.refuse_under_way(key.tenant, key.pack)
        return find_variant(self._site, str(key))

    def _retarget(self, key: Key) -> Target:
        return retarget(self._read(key.tenant, key.pack), key, limit=self._site.limit)

    def _read(self, tenant: str, pack_id: str) -> Snapshot:
        with self._site.catalog.read(tenant) as tx:
            return read_shown(tx, pack_id)

    async def stable(self, request: Request) -> Response:
        """Answer a stable URL with the variant that it means at this moment."""
        address = address_of(self._site, request)
        tenant, pack_id, form = address.tenant, address.pack_id, address.form
        assert isinstance(form, RequestForm)
        accept = accepted_formats(",".join(request.headers.getlist("accept")))
        found = await anyio.to_thread.run_sync(self._find, tenant, pack_id, form, accept, limiter=self._threads)
        for _ in range(RESTARTS):
            if found.stored is not None:
                break
            rendered = None if found.planned else partial(self._demand.count, form, found.target)
            stored = await self._fallback.fetch(found.target, rendered)
            again = await anyio.to_thread.run_sync(self._find, tenant, pack_id, form, accept, limiter=self._threads)
            # The bytes are of the key that was asked for only if no edit came in between.
            found = replace(found, stored=stored) if again.target.key == found.target.key else again
        if found.stored is None:
            raise OSError(f"Pack {pack_id} was edited {RESTARTS} times while its picture was rendered.")
        headers = describe_stable(self._site, found.target, varies=found.varies)
        return await self._answer(request, found.stored, headers)

    def _find(self, tenant: str, pack_id: str, form: RequestForm, accept: frozenset[Format]) -> Found:
        snapshot = self._read(tenant, pack_id)
        target = resolve(snapshot, form, limit=self._site.limit, accept=accept)
        varies, stored = negotiates(snapshot, form), find_variant(self._site, str(target.key))
        if stored is not None:
            return Found(target, stored, varies)
        ahead = planned(snapshot, target.key.location, limit=self._site.limit)
        return Found(target, None, varies, any(one.key == target.key for one in ahead))

    async def _answer(self, request: Request, stored: Stored, headers: dict[str, str]) -> Response:
        etag = f'"{stored.sha256[:32]}"'
        headers = COMMON | headers | {"ETag": etag, "Last-Modified": format_datetime(stored.modified_at, usegmt=True)}
        if is_unchanged(request, etag, stored):
            return Response(status_code=304, headers=headers)
        path: Path | None = self._site.variants.local_path(stored.key)
        if path is not None:
            return FileResponse(path, headers=headers, media_type=stored.metadata.content_type)
        headers |= {"Content-Length": str(stored.size), "Content-Type": stored.metadata.content_type}
        if request.method == "HEAD":
            return Response(headers=headers)
        if stored.size <= CHUNK_BYTES:
            # As a whole, so that a store which breaks off is asked again and never spoils an answer that has begun.
            data, _ = await anyio.to_thread.run_sync(self._site.variants.get, stored.key, limiter=self._threads)
            return Response(data, headers=headers)
        opened = await anyio.to_thread.run_sync(self._site.variants.open, stored.key, limiter=self._threads)
        return StreamingResponse(read_chunks(opened, self._bodies), headers=headers)


def is_unchanged(request: Request, etag: str, stored: Stored) -> bool:
    """Whether the client has these bytes already (RFC 9110, section 13.1)."""
    known = request.headers.get("if-none-match")
    if known is not None:
        tags = [tag.strip().removeprefix("W/") for tag in known.split(",")]
        return etag in tags or "*" in tags
    since = request.headers.get("if-modified-since")
    if since is None:
        return False
    try:
        moment = parsedate_to_datetime(since)
    except (ValueError, OverflowError):
        return False
    # The very moment, not any later one: a stable URL can go back to an older blob.
    return moment.tzinfo is not None and stored.modified_at.replace(microsecond=0) == moment


def accepted_formats(accept: str) -> frozenset[Format]:
    """Return which of AVIF and WebP an `Accept` header names; wildcards promise neither.

    A CDN's edge does the same in JavaScript: infra/edge/route.js.
    """
    found = set()
    for item in accept.lower().split(","):
        media_type, *parameters = (part.strip(_BLANK) for part in item.split(";"))
        refused = any(p.partition("=")[0].strip(_BLANK) == "q" and _is_zero(p.partition("=")[2]) for p in parameters)
        if media_type in ("image/avif", "image/webp") and not refused:
            found.add(Format(media_type.removeprefix("image/")))
    return frozenset(found)


def _is_zero(weight: str) -> bool:
    weight = weight.strip(_BLANK)
    return weight.strip("0") in ("", ".") and weight != ""
