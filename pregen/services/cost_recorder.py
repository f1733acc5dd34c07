"""The cost recorder: the service that writes measured render costs to the database every few seconds."""

import logging

from packshot.catalog.variants.decoding import write_decodings
from packshot.catalog.variants.render_costs import write_costs
from packshot.site import Site
from pregen.services.service import Service

log = logging.getLogger(__name__)

WRITE_SECONDS = 5.0  # A killed process loses the measurements of this time.


class CostRecorder(Service):
    """Runs in every worker, because each measures its own renders."""

    def __init__(self, site: Site) -> None:
        super().__init__("cost recorder", interval=WRITE_SECONDS, patience=None)
        self._site = site

    def step(self) -> None:
        """Write the measurements since the last step."""
        record_costs(self._site)

    def finish(self) -> None:
        """Write the last measurements."""
        self.step()


def record_costs(site: Site) -> None:
    """Write the measurements since the last call. Does nothing if nothing was rendered.

    Measurements that cannot be written are lost: the next renders yield new ones.
    """
    if measured := site.tally.take():
        with site.catalog.write_system() as tx:
            write_costs(tx, measured)
    for tenant in site.decoding.tenants():
        with site.catalog.write(tenant) as tx:
            write_decodings(tx, site.decoding.take(tenant))
