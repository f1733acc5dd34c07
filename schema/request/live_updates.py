"""Live updates for subscriptions: one task reads the database twice a second for all subscribers."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, TypeVar

from packshot import faults
from packshot.errors import Limit
from packshot.site import Site
from resolvers.caller import Caller
from resolvers.live_updates import read_subjects
from schema.request.threads import ThreadPool, Threads

INTERVAL_SECONDS = 0.5

log = logging.getLogger(__name__)

R = TypeVar("R")
Subject: TypeAlias = tuple[Literal["job", "pack", "token"], str, str]
_UNSEEN: Any = object()


class TokenEnded(Exception):
    """The token of a subscriber expired or was revoked."""


def token_subject(caller: Caller) -> Subject | None:
    """Return the subject that tells whether the caller's token is revoked; None if the token cannot be revoked."""
    return None if caller.token_id is None else ("token", caller.tenant, caller.token_id)


class LiveUpdates:
    """Send subscribers the current state of a subject, and each later state. One for an application."""

    def __init__(self, site: Site, threads: ThreadPool | None = None) -> None:
        self._site = site
        self._threads = threads or Threads().watching
        self._followers: Counter[Subject] = Counter()
        self._seen: dict[Subject, Any] = {}
        # The number of the read at which a subject last changed, and the loaders that all its subscribers share since
        # then.
        self._differed: dict[Subject, int] = {}
        self._readers: dict[Subject, tuple[int, Any]] = {}
        self._looks = 0
        self._subscriptions: Counter[tuple[str, str]] = Counter()
        self._wake = asyncio.Event()
        self._looked = asyncio.Condition()
        self._looking: asyncio.Task[None] | None = None

    @contextmanager
    def subscribing(self, caller: Caller) -> Iterator[None]:
        """Count one subscription of a user for the duration of the block.

        Raises:
            Limit: the user has the maximum number of subscriptions, over all connections to this process.
        """
        user, most = (caller.tenant, caller.subject), self._site.settings.subscriptions_per_user
        if self._subscriptions[user] >= most:
            raise Limit("Too many subscriptions.", expected=f"at most {most} at a time", got=most + 1)
        self._subscriptions[user] += 1
        try:
            yield
        finally:
            self._subscriptions[user] -= 1
            if not self._subscriptions[user]:
                del self._subscriptions[user]

    def reader(self, subject: Subject, make: Callable[[], R]) -> R:
        """Return the loaders for the last state of a subject; all its subscribers share them.

        Args:
            make: creates the loaders; the same for all subscribers of the subject.
        """
        look = self._differed.get(subject, 0)
        kept = self._readers.get(subject)
        if kept is None or kept[0] != look:
            kept = self._readers[subject] = (look, make())
        reader: R = kept[1]
        return reader

    async def follow(
        self,
        subject: Subject,
        until: datetime | None,
        token: Subject | None = None,
        *,
        pay: Callable[[], Awaitable[None]] | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Yield the state of a subject from `read_subjects`: at once, then when it changes, at most twice a second.

        The generator ends when the subject no longer exists.

        Args:
            pay: waits until the next event can be paid; the event then has the newest state.

        Raises:
            TokenEnded: at `until`, and when `token` is revoked.
        """
        listened = {subject} if token is None else {subject, token}
        self._followers.update(listened)
        self._start()
        shown = _UNSEEN
        try:
            # Read again for this subscriber: the known state may be half a second old.
            for each in listened:
                self._seen.pop(each, None)
            async with asyncio.timeout(None if until is None else (until - datetime.now(UTC)).total_seconds()):
                while (value := await self._differing(subject, shown, token)) is not None:
                    if pay is not None and shown is not _UNSEEN:
                        await pay()
                        value = await self._differing(subject, shown, token)
                        if value is None:
                            return
                    yield value
                    shown = value
                    await asyncio.sleep(INTERVAL_SECONDS)
        except TimeoutError:
            raise TokenEnded from None
        finally:
            for each in listened:
                self._followers[each] -= 1
                if not self._followers[each]:
                    del self._followers[each]
                    for kept in (self._seen, self._differed, self._readers):
                        kept.pop(each, None)

    async def _differing(self, subject: Subject, shown: Any, token: Subject | None) -> Any:
        def revoked() -> bool:
            return self._seen.get(token, _UNSEEN) is None if token is not None else False

        async with self._looked:
            await self._looked.wait_for(lambda: revoked() or self._seen.get(subject, shown) != shown)
            if revoked():
                raise TokenEnded
            return self._seen[subject]

    def _start(self) -> None:
        self._wake.set()
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while self._followers:
            self._wake.clear()
            subjects = list(self._followers)
            try:
                found = await self._threads.run(read_subjects, self._site, subjects)
            except Exception as error:  # noqa: BLE001 - it is logged
                # The database may answer at the next read, in half a second.
                faults.count(log, error, "cannot read jobs and packs for subscriptions")
            else:
                async with self._looked:
                    self._looks += 1
                    for subject in subjects:
                        if subject in self._followers and self._seen.get(subject, _UNSEEN) != found.get(subject):
                            self._seen[subject] = found.get(subject)
                            self._differed[subject] = self._looks
                    self._looked.notify_all()
            try:
                await asyncio.wait_for(self._wake.wait(), INTERVAL_SECONDS)
            except TimeoutError:
                continue
