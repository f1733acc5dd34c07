"""The marker: marks outside the database how far its sequences are, and notices when it was restored."""

import logging
from datetime import timedelta
from secrets import token_hex

from packshot.catalog.configuration import epochs
from packshot.catalog.configuration.epochs import Positions
from packshot.catalog.database import leases
from packshot.maintenance.marks import check_epoch, write_marks
from packshot.site import Site
from pregen.services.service import Loop, Service

log = logging.getLogger(__name__)

SECONDS = 10.0
LEASE, LEASE_TIME = "marker", timedelta(seconds=30)


class Marker(Service):
    """Looks every ten seconds until it is stopped; of many processes one at a time, by a lease."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._holder = token_hex(16)
        self._marked: Positions | None = None
        super().__init__(Loop("marker", self.step, tick=SECONDS), last=self.step)

    def step(self) -> None:
        """Mark how far the sequences are, where any went on since the last look."""
        with self._site.catalog.write_system() as tx:
            if not leases.take_lease(tx, LEASE, self._holder, LEASE_TIME):
                # Another process marks, and may mark what this one does not know.
                self._marked = None
                return
            now = epochs.get_positions(tx)
        if now == self._marked:
            return
        check_epoch(self._site)
        self._marked = write_marks(self._site)
