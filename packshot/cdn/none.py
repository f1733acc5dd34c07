"""No CDN: there is nothing to purge."""

from collections.abc import Sequence
from datetime import timedelta


class NoPurger:
    """Removes nothing, at once. Caches that nobody purges keep a stable URL for a minute."""

    most_tags = 1000
    repeat_after: timedelta | None = None

    def purge(self, tags: Sequence[str]) -> str:
        return "none"

    def is_complete(self, provider_id: str) -> bool:
        return True
