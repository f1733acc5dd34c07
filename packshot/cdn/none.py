"""No CDN: there is nothing to purge."""

from collections.abc import Sequence
from datetime import timedelta


class NoPurger:
    """Removes nothing and reports success. Without purges, caches keep a stable URL for a minute."""

    by_tags = False
    most_tags = 1000
    repeat_after: timedelta | None = None

    def headers(self, tags: Sequence[str]) -> dict[str, str]:
        return {}

    def purge(self, tags: Sequence[str], *, reference: str, erasing: bool) -> str:
        return "none"

    def is_complete(self, provider_id: str) -> bool:
        return True

    def check(self) -> str:
        return "none is configured: caches keep stable URLs for a minute"
