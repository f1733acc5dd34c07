"""What a CDN must be able to do: forget what carries a tag, and say when that is done."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

# A fill that was in flight during a purge has arrived by then, and is purged too.
REPEAT_AFTER = timedelta(seconds=20)


class ProviderBusy(Exception):
    """The CDN takes no more purges for the moment. Nothing is wrong; the purge is sent again in a moment."""


class Purger(Protocol):
    """One CDN. Any number of threads and processes may use it at a time; purging again does no harm.

    A `PackshotError` means that asking again gets the same answer; whatever else is raised is an outage, or
    `ProviderBusy`, and the purge is tried again. Its text is shown to people, so it must hold no credentials.
    """

    @property
    def by_tags(self) -> bool:
        """Whether copies of stable URLs are found by their tags, so that they may be kept for long."""
        ...

    @property
    def most_tags(self) -> int:
        """How many tags one call takes."""
        ...

    @property
    def repeat_after(self) -> timedelta | None:
        """How long after a complete purge the same tags are purged once more; None: once is enough."""
        ...

    def headers(self, tags: Sequence[str]) -> dict[str, str]:
        """Return the headers by which an answer tells this CDN its tags; none where it has no use for them."""
        ...

    def purge(self, tags: Sequence[str], *, reference: str, erasing: bool) -> str:
        """Ask for the removal of every copy that carries one of the tags; return the provider's id of it.

        Args:
            reference: the same for the same tags asked for again, up to 64 of `[0-9a-f.-]`; where the provider
                knows it already, it purges nothing anew.
            erasing: what is purged must not be shown again, not even while Packshot is away.

        Raises:
            ProviderBusy: not now.
        """
        ...

    def is_complete(self, provider_id: str) -> bool:
        """Whether a purge has reached every cache."""
        ...

    def check(self) -> str:
        """Return what this CDN is, in a few words, once it has shown that it takes purges.

        Raises:
            Exception: it does not, and the text says how to mend that.
        """
        ...
