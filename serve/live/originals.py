"""Serve the originals of live images: `GET /<id>.<ext>`."""

from collections.abc import Sequence
from functools import partial

import anyio
import anyio.to_thread
from starlette.requests import Request
from starlette.responses import Response

from packshot.catalog.database.transaction import Tx
from packshot.catalog.packs import packs
from packshot.errors import NotFound, OriginalLost
from packshot.model import Original
from packshot.originals.stripped import StrippedOriginals
from packshot.production import DAMAGED
from packshot.render.processes.pool import QueueTimeout
from packshot.site import Site, original_key
from packshot.storage.base import DamagedObject, NoSuchObject, Opened
from packshot.variants.resolve import asked_location, nothing_to_show, shown_at
from packshot.variants.tags import purge_tags
from resolvers import live_resize
from serve.http.problems import Overloaded
from serve.image.caching import COMMON, keep_stable
from serve.image.erased import read_shown
from serve.image.sendable import Sendable
from serve.image.sending import Conditions, send

EXPECTED = "<id>_<width>_<height>.<ext>"


class LiveOriginals:
    """Serves originals; by default only those uploaded through live resize, and without their metadata."""

    def __init__(self, site: Site, threads: anyio.CapacityLimiter) -> None:
        self._site = site
        self._threads = threads
        self._stripped = StrippedOriginals(site)

    async def send(self, request: Request, tenant: str, image_ids: Sequence[str]) -> Response:
        """Answer with the original of the first existing image of these ids, under its own media type."""
        conditions = Conditions.of(request).without_dates()
        open_ = partial(self._open, tenant, image_ids, conditions)
        sendable, headers = await anyio.to_thread.run_sync(open_, limiter=self._threads)
        return send(sendable, conditions, {**COMMON, **headers}, self._threads)

    def _open(self, tenant: str, image_ids: Sequence[str], conditions: Conditions) -> tuple[Sendable, dict[str, str]]:
        image_id = image_ids[0]
        if self._site.settings.live_originals == "off":
            raise NotFound("This installation serves no originals.", expected=EXPECTED, got=image_id)
        with self._site.catalog.read(tenant) as tx:
            snapshot = read_shown(tx, live_resize.find_pack(tx, *image_ids))
            location, _ = asked_location(snapshot, None)
            shown = shown_at(snapshot, location)
            if shown is None:
                raise nothing_to_show(location)
            self._check_scope(tx, snapshot.pack.id, shown.original, image_id)
        headers = keep_stable(self._site, purge_tags(tenant, snapshot.pack.id, shown.consulted))
        try:
            return self._sendable(tenant, shown.original, conditions, credits=snapshot.tenant.keep_credits), headers
        except DamagedObject:
            raise OriginalLost(DAMAGED) from None
        except NoSuchObject:
            raise NotFound("The original is missing from its store.", expected="another image", got=image_id) from None
        except QueueTimeout as full:
            raise Overloaded(self._site.settings.render_queue_seconds) from full

    def _check_scope(self, tx: Tx, pack_id: str, original: Original, image_id: str) -> None:
        if self._site.settings.live_originals_scope == "live" and not packs.find_live_originals(
            tx, [(pack_id, original.sha256)]
        ):
            raise NotFound("The original of this image is not served.", expected=EXPECTED, got=image_id)

    def _sendable(self, tenant: str, original: Original, conditions: Conditions, *, credits: bool) -> Sendable:
        store, key = self._site.originals, original_key(tenant, original.sha256)
        is_verbatim = self._site.settings.live_originals == "verbatim"
        if conditions.head or conditions.may_be_unchanged:
            stored = store.head(key)
            if stored is None:
                raise NoSuchObject(key)
            if not is_verbatim:
                stored = self._stripped.describe(tenant, original, stored, credits=credits)
            if conditions.head or conditions.is_unchanged(stored):
                return Sendable(stored)
        opened: Opened = store.open(key)
        if not is_verbatim:
            opened = self._stripped.open(tenant, original, opened, credits=credits)
        return Sendable(opened.stored, opened)
