"""Fetch the key set that verifies JWTs in the background, and keep it during outages of its server."""

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
# Seconds between attempts after a failure; and the shortest pause, if a request needs a key that is missing.
RETRY_SECONDS, MIN_PAUSE_SECONDS = 30.0, 10.0
FETCH_SECONDS = 5.0
# Seconds that a request waits for the key server: for the first key set, or for a new key.
WAIT_SECONDS = 5.0
# Seconds for which the last key set stays in use while the key server does not answer.
MAX_AGE_SECONDS = 24 * 3600.0
MAX_BYTES = 1 << 18
MAX_KEYS = 100
ACCEPT = "application/jwk-set+json, application/json, */*;q=0.5"


class KeySet:
    """The keys at one URL. Used from the event loop only.

    Args:
        url: set by the operator, so its host may be private. A redirect to another private host is refused.
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
        """Stop fetching."""
        tasks = [task for task in (self._refreshing, self._fetching) if task is not None]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def find(self, key_id: object) -> jwt.PyJWK | None:
        """Return the key with that id; None: the key set has no such key.

        Raises:
            ThreadsBusy: there is no key set, or only one that is too old.
        """
        self.start()
        if not self._usable() or key_id not in self._keys:
            # All waiting requests share one fetch, and fetches have a minimum distance.
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
            # A stopping server abandons the thread, which ends within the time limit of a fetch.
            read = anyio.to_thread.run_sync(self._read, limiter=self._limiter, abandon_on_cancel=True)
            self._keys, self._fetched_at = await read, began
        except (PackshotError, OSError, ValueError, jwt.PyJWTError) as error:
            log.warning("the key set at PACKSHOT_JWKS_URL cannot be used, %s: %s", self._kept(), error)

    def _kept(self) -> str:
        if not self._usable():
            return "and no keys are available to verify tokens"
        return f"and the keys from {time.monotonic() - self._fetched_at:.0f} seconds ago stay in use"

    def _read(self) -> dict[str, jwt.PyJWK]:
        return read_keys(self._settings, self._url)

    @property
    def age_seconds(self) -> float | None:
        """The age of the keys in use; None: there are no usable keys."""
        return time.monotonic() - self._fetched_at if self._usable() else None

    @property
    def is_failing(self) -> bool:
        """Whether the last finished attempt to fetch the keys failed."""
        is_fetching = self._fetching is not None and not self._fetching.done()
        return self._tried_at > self._fetched_at and not is_fetching


def read_keys(settings: Settings, url: str) -> dict[str, jwt.PyJWK]:
    """Fetch a key set and return its keys by their ids.

    Raises:
        PackshotError, OSError, ValueError, jwt.PyJWTError: the URL cannot be fetched, or its content is no key set.
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
    """Parse a key set (RFC 7517). Keys for other uses, without an id, or of an unknown kind are ignored.

    Raises:
        ValueError, jwt.PyJWTError: the document is no key set, has no usable key, or has too many keys.
    """
    try:
        parsed: Any = orjson.loads(document)
    except orjson.JSONDecodeError:
        raise ValueError("expected a JSON document, got another format") from None
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
        raise ValueError("expected a signature key with an id, got none")
    return keys
