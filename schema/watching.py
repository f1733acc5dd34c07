"""What subscribers listen to: the database is read twice a second, once for all of them."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import anyio.to_thread

from packshot.site import Site
from resolvers.watching import read_subjects

INTERVAL_SECONDS = 0.5

log = logging.getLogger(__name__)

Subject: TypeAlias = tuple[Literal["job", "pack"], str, str]
_UNSEEN: Any = object()


class Watch:
    """Tells whoever follows a job or a pack how it is, now and whenever that changes. One for an application."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._followers: Counter[Subject] = Counter()
        self._seen: dict[Subject, Any] = {}
        self._wake = asyncio.Event()
        self._looked = asyncio.Condition()
        self._looking: asyncio.Task[None] | None = None

    async def follow(self, subject: Subject, until: datetime | None) -> AsyncGenerator[Any, None]:
        """Yield what `read_subjects` says of the subject: at once, then when it differs, at most twice a second.

        Ends when there is no such thing any more, and at `until`, when a token ends.
        """
        self._followers[subject] += 1
        self._start()
        shown = _UNSEEN
        try:
            # Asks for itself at first: what others have seen may be half a second old.
            self._seen.pop(subject, None)
            async with asyncio.timeout(None if until is None else (until - datetime.now(UTC)).total_seconds()):
                while (value := await self._differing(subject, shown)) is not None:
                    yield value
                    shown = value
                    await asyncio.sleep(INTERVAL_SECONDS)
        except TimeoutError:
            return
        finally:
            self._followers[subject] -= 1
            if not self._followers[subject]:
                del self._followers[subject]
                self._seen.pop(subject, None)

    async def _differing(self, subject: Subject, shown: Any) -> Any:
        async with self._looked:
            await self._looked.wait_for(lambda: self._seen.get(subject, shown) != shown)
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
                found = await anyio.to_thread.run_sync(read_subjects, self._site, subjects)
            except Exception:
                # The next look, in half a second, may find the database back.
                log.exception("followed jobs and packs cannot be read")
            else:
                async with self._looked:
                    self._seen |= {subject: found.get(subject) for subject in subjects if subject in self._followers}
                    self._looked.notify_all()
            try:
                await asyncio.wait_for(self._wake.wait(), INTERVAL_SECONDS)
            except TimeoutError:
                continue
