"""Learn what rendering costs: every few seconds a process writes what it has measured."""

import logging
from functools import partial

from packshot import faults
from packshot.catalog.decoding import write_decodings
from packshot.catalog.rates import write_rates
from packshot.catalog.transaction import DatabaseFault
from packshot.site import Site
from pregen.loop import Loop

log = logging.getLogger(__name__)

WRITE_SECONDS = 5.0  # A process that is killed loses what it measured in between.


class Learner:
    """Writes measurements down until it is stopped; every process that renders ahead of time has one."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._loop = Loop("learner", partial(learn, site), tick=WRITE_SECONDS)

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
