"""The interface of a purger: purge copies by tag, and report when that is complete."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

# Time after which a response that a cache requested before the purge has arrived; the second purge removes it.
REPEAT_AFTER = timedelta(seconds=20)


class ProviderBusy(Exception):
    """The CDN accepts no more purges at present. Nothing is wrong; the purge is sent again soon."""


class Purger(Protocol):
    """The adapter for one CDN. Threads and processes may use it concurrently; repeating a purge is harmless.

    A `PackshotError` means that a repeated call gets the same answer. Every other exception is an outage, or
    `ProviderBusy`, and the purge is tried again. Its text is shown to users, so it must not contain credentials.
    """

    @property
    def by_tags(self) -> bool:
        """Whether copies of stable URLs are found by their tags, so that caches may keep them long."""
        ...

    @property
    def most_tags(self) -> int:
        """The maximum number of tags per call."""
        ...

    @property
    def repeat_after(self) -> timedelta | None:
        """Time after a complete purge when the same tags are purged again; None: never."""
        ...

    def headers(self, tags: Sequence[str]) -> dict[str, str]:
        """Return the headers by which a response gives its tags to this CDN; may be empty."""
        ...

    def purge(self, tags: Sequence[str], *, reference: str, erasing: bool) -> str:
        """Request the removal of every copy that has one of the tags; return the provider's id of the purge.

        Args:
            reference: id of the request, the same if the same tags are sent again; up to 64 of `[0-9a-f.-]`. A
            provider
                that knows it already does not purge again.
            erasing: the copies must never be shown again, not even while Packshot is down.

        Raises:
            ProviderBusy: the provider accepts no purge at present.
        """
        ...

    def is_complete(self, provider_id: str) -> bool:
        """Whether a purge has reached every cache."""
        ...

    def check(self) -> str:
        """Verify that this CDN accepts purges, and return a short description of it.

        Raises:
            Exception: it does not; the text says what to do.
        """
        ...
