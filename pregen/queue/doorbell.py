"""The doorbell: tells the workers that a pack has an order."""

from typing import Protocol

from packshot.catalog.work.orders import Priority


class Doorbell(Protocol):
    """Wakes a worker after the commit. A lost ring delays the work by a second."""

    def ring(self, tenant: str, pack_id: str, priority: Priority) -> None:
        """Ask for one pack to be brought up to date."""
        ...

    def wake(self) -> None:
        """Ask the dispatcher to look for due work now."""
        ...


class SilentDoorbell:
    """The doorbell of a process that only writes rows, which another process's dispatcher finds."""

    def ring(self, tenant: str, pack_id: str, priority: Priority) -> None:
        """Do nothing."""

    def wake(self) -> None:
        """Do nothing."""
