"""Learning what rendering costs: what a process has measured is written down every few seconds."""

import logging
import time

from packshot import faults
from packshot.catalog.decoding import write_decodings
from packshot.catalog.rates import write_rates
from packshot.catalog.transaction import DatabaseFault
from packshot.site import Site
from pregen.loop import Loop

log = logging.getLogger(__name__)

# Of what is measured in between, a process that is killed takes along no more.
EVERY_SECONDS = 5.0


class Learner:
    """Writes measurements down until it is stopped; every process that renders ahead of time has one."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._loop = Loop("learner", self._step)
        self._due = 0.0

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """Write nothing more but what is left."""
        self._loop.stop()

    def join(self) -> None:
        """Wait until what is left is written."""
        self._loop.join()
        try:
            learn(self._site)
        except DatabaseFault as error:
            faults.count(log, error, "the measured cost of renders could not be stored")

    def _step(self) -> None:
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + EVERY_SECONDS
            learn(self._site)


def learn(site: Site) -> None:
    """Write down what was measured since the last time; nothing where nothing was rendered.

    What cannot be written is lost: the next renders measure the same.
    """
    if measured := site.tally.take():
        with site.catalog.write("") as tx:
            write_rates(tx, measured)
    for tenant in site.decoding.tenants():
        with site.catalog.write(tenant) as tx:
            write_decodings(tx, site.decoding.take(tenant))
