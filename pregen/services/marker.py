"""The marker: the service that notes in a store how far the sequences are, so that a restored backup is noticed."""

import logging
from datetime import timedelta
from secrets import token_hex

from packshot.catalog.configuration import epochs
from packshot.catalog.configuration.epochs import Positions
from packshot.catalog.database import leases
from packshot.maintenance.marks import check_epoch, write_marks
from packshot.site import Site
from pregen.services.service import Service

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 10.0
LEASE, LEASE_TIME = "marker", timedelta(seconds=30)


class Marker(Service):
    """Runs in every worker; a lease decides which one writes the marks."""

    def __init__(self, site: Site) -> None:
        super().__init__("marker", interval=INTERVAL_SECONDS)
        self._site = site
        self._holder = token_hex(16)
        self._marked: Positions | None = None

    def step(self) -> None:
        """Write the positions of the sequences, if any sequence has advanced since the last step."""
        with self._site.catalog.write_system() as tx:
            if not leases.take_lease(tx, LEASE, self._holder, LEASE_TIME):
                # Another process writes the marks, and may write positions that this one does not know.
                self._marked = None
                return
            now = epochs.get_positions(tx)
        if now == self._marked:
            return
        check_epoch(self._site)
        self._marked = write_marks(self._site)

    def finish(self) -> None:
        """Write the last positions."""
        self.step()
