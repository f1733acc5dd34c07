"""The doorbell: wakes a worker for a pack that has an order."""

from typing import Protocol

from packshot.catalog.work.orders import Priority


class Doorbell(Protocol):
    """Rings after the commit. A lost ring delays the work by a second."""

    def ring(self, tenant: str, pack_id: str, priority: Priority) -> None:
        """Ask the workers to refresh one pack."""
        ...

    def wake(self) -> None:
        """Ask the services to look for due work now."""
        ...


class SilentDoorbell:
    """The doorbell of a process that only writes rows; the dispatcher of another process finds them."""

    def ring(self, tenant: str, pack_id: str, priority: Priority) -> None:
        """Do nothing."""

    def wake(self) -> None:
        """Do nothing."""
