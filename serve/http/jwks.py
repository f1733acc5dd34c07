"""The key set that JWTs are verified by: fetched in the background, and kept while its server is away."""

import asyncio
import logging
import secrets
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import jwt
import orjson

from packshot.errors import PackshotError
from packshot.network.fetch import Allowed, fetch, parse_allowed
from packshot.network.url import encode_host
from packshot.settings.settings import Settings
from packshot.site import Site
from schema.request.threads import ThreadsBusy

log = logging.getLogger(__name__)

REFRESH_SECONDS = 300.0
# After a failure. A request may bring the next fetch forward, but no closer to the last one than the shorter pause.
RETRY_SECONDS, MIN_PAUSE_SECONDS = 30.0, 10.0
FETCH_SECONDS = 5.0
# The longest that a request waits for the key server: for the first key set, and for a key that is new.
WAIT_SECONDS = 5.0
# The last key set is used that long while the key server is away.
MAX_AGE_SECONDS = 24 * 3600.0
MAX_BYTES = 1 << 18
MAX_KEYS = 100
ACCEPT = "application/jwk-set+json, application/json, */*;q=0.5"


class KeySet:
    """The keys at one URL. Belongs to the event loop.

    Args:
        url: the operator's; its host may be private, hosts that it redirects to may not.
    """

    def __init__(self, site: Site, url: str) -> None:
        self._settings = site.settings
        self._url = url
        self._limiter = anyio.CapacityLimiter(1)
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Fetch the keys now, and every five minutes until `stop`."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh())

    async def stop(self) -> None:
        """Fetch nothing more."""
        tasks = [task for task in (self._refreshing, self._fetching) if task is not None]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def find(self, key_id: object) -> jwt.PyJWK | None:
        """Return the key with that id; None: the key set has none.

        Raises:
            ThreadsBusy: there is no key set, or none that is recent enough.
        """
        self.start()
        if not self._usable() or key_id not in self._keys:
            # One fetch at most for all who wait, and none soon after the last one.
            await self._wait_for(self._fetch_if_due())
        if not self._usable():
            message = "Tokens cannot be verified now: the key server does not answer."
            pause = max(1.0, self._tried_at + MIN_PAUSE_SECONDS - time.monotonic())
            raise ThreadsBusy(503, "UNAVAILABLE", message, pause)
        return self._keys.get(key_id) if isinstance(key_id, str) else None

    def _usable(self) -> bool:
        return bool(self._keys) and time.monotonic() - self._fetched_at < MAX_AGE_SECONDS

    async def _refresh(self) -> None:
        while True:
            await self._wait_for(self._fetch_if_due())
            is_fresh = time.monotonic() - self._fetched_at < REFRESH_SECONDS
            await asyncio.sleep(REFRESH_SECONDS if is_fresh else RETRY_SECONDS)

    def _fetch_if_due(self) -> asyncio.Task[None] | None:
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        if time.monotonic() - self._tried_at < MIN_PAUSE_SECONDS:
            return None
        self._tried_at = time.monotonic()
        self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _wait_for(self, fetching: asyncio.Task[None] | None) -> None:
        if fetching is not None:
            await asyncio.wait({fetching}, timeout=WAIT_SECONDS)

    async def _fetch(self) -> None:
        began = time.monotonic()
        try:
            # Not waited for when the server stops: the thread ends by itself within the limit of a fetch.
            read = anyio.to_thread.run_sync(self._read, limiter=self._limiter, abandon_on_cancel=True)
            self._keys, self._fetched_at = await read, began
        except (PackshotError, OSError, ValueError, jwt.PyJWTError) as error:
            log.warning("the key set at PACKSHOT_JWKS_URL cannot be used, %s: %s", self._kept(), error)

    def _kept(self) -> str:
        if not self._usable():
            return "and there are no keys to verify tokens with"
        return f"and the keys of {time.monotonic() - self._fetched_at:.0f} seconds ago are kept"

    def _read(self) -> dict[str, jwt.PyJWK]:
        return read_keys(self._settings, self._url)

    @property
    def age_seconds(self) -> float | None:
        """How long ago the keys in use were fetched; None: there are none that may be used."""
        return time.monotonic() - self._fetched_at if self._usable() else None

    @property
    def is_failing(self) -> bool:
        """Whether the last attempt to fetch the keys, if it has ended, gave none."""
        is_fetching = self._fetching is not None and not self._fetching.done()
        return self._tried_at > self._fetched_at and not is_fetching


def read_keys(settings: Settings, url: str) -> dict[str, jwt.PyJWK]:
    """Fetch a key set and return its keys by their ids.

    Raises:
        PackshotError, OSError, ValueError, jwt.PyJWTError: it cannot be fetched, or is no key set.
    """
    allowed = parse_allowed(settings.fetch_allow or "")
    host = (urlsplit(url).hostname or "").lower()
    path = settings.data / "incoming" / secrets.token_hex(16)
    try:
        hosts = Allowed(allowed.hosts | {encode_host(host)}, allowed.networks)
        fetch(
            url,
            path,
            max_bytes=MAX_BYTES,
            allowed=hosts,
            seconds=FETCH_SECONDS,
            accept=ACCEPT,
            user_agent=settings.user_agent,
        )
        return parse_keys(path.read_bytes())
    finally:
        path.unlink(missing_ok=True)


def parse_keys(document: bytes) -> dict[str, jwt.PyJWK]:
    """Read a key set (RFC 7517); keys for other uses, without an id, or of an unknown kind are left out.

    Raises:
        ValueError, jwt.PyJWTError: it is no key set, or has no such key, or too many.
    """
    try:
        parsed: Any = orjson.loads(document)
    except orjson.JSONDecodeError:
        raise ValueError("expected a JSON document, got something else") from None
    listed = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(listed, list) or not all(isinstance(key, dict) for key in listed):
        raise ValueError('expected {"keys": […]}, got another document')
    if len(listed) > MAX_KEYS:
        raise ValueError(f"expected at most {MAX_KEYS} keys, got {len(listed)}")
    keys = {
        key.key_id: key
        for key in jwt.PyJWKSet.from_dict(parsed).keys
        if key.key_id and key.public_key_use in (None, "sig")
    }
    if not keys:
        raise ValueError("expected a key with an id for signatures, got none")
    return keys
