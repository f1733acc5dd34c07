"""What a CDN must be able to do: forget what carries a tag, and say when that is done."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

# A fill that was in flight during a purge has arrived by then, and is purged too.
REPEAT_AFTER = timedelta(seconds=20)


class Purger(Protocol):
    """One CDN. Any number of threads and processes may use it at a time; purging again does no harm.

    A `PackshotError` means that asking again gets the same answer; whatever else is raised is an outage, and
    the purge is tried again. Its text is shown to people, so it must hold no credentials.
    """

    @property
    def most_tags(self) -> int:
        """How many tags one call takes."""
        ...

    @property
    def repeat_after(self) -> timedelta | None:
        """How long after a complete purge the same tags are purged once more; None: once is enough."""
        ...

    def purge(self, tags: Sequence[str]) -> str:
        """Ask for the removal of every copy that carries one of the tags; return the provider's id of it."""
        ...

    def is_complete(self, provider_id: str) -> bool:
        """Whether a purge has reached every cache."""
        ...
