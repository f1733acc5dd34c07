"""Learn what rendering costs: every few seconds a process writes what it has measured."""

import logging
from functools import partial

from packshot.catalog.variants.decoding import write_decodings
from packshot.catalog.variants.render_costs import write_costs
from packshot.site import Site
from pregen.services.service import Loop, Service

log = logging.getLogger(__name__)

WRITE_SECONDS = 5.0  # A process that is killed loses what it measured in between.


class CostRecorder(Service):
    """Writes measurements down until it is stopped; every process that renders ahead of time has one."""

    def __init__(self, site: Site) -> None:
        step = partial(record_costs, site)
        super().__init__(Loop("learner", step, tick=WRITE_SECONDS), last=step)


def record_costs(site: Site) -> None:
    """Write down what was measured since the last time; nothing where nothing was rendered.

    What cannot be written is lost: the next renders measure the same.
    """
    if measured := site.tally.take():
        with site.catalog.write_system() as tx:
            write_costs(tx, measured)
    for tenant in site.decoding.tenants():
        with site.catalog.write(tenant) as tx:
            write_decodings(tx, site.decoding.take(tenant))
