"""The doorbell: how whoever placed an order tells the worker that there is one."""

from typing import Protocol

from packshot.catalog.work.orders import Priority


class Bell(Protocol):
    """Rung after the commit; a ring that nobody hears costs a second, never the work."""

    def ring(self, tenant: str, pack_id: str, priority: Priority) -> None:
        """Ask for one pack to be brought up to date."""
        ...

    def wake(self) -> None:
        """Ask the dispatcher to look for due work now."""
        ...


class SilentBell:
    """For a process that only writes rows; another one's dispatcher finds them."""

    def ring(self, tenant: str, pack_id: str, priority: Priority) -> None:
        """Do nothing."""

    def wake(self) -> None:
        """Do nothing."""
