"""Count what had to be rendered on demand: in memory at once, in the database every few seconds."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from operator import attrgetter

from packshot.catalog.variants.demand import add_requests
from packshot.site import Site
from packshot.variants.demand import CountedDemand, DemandedForm
from packshot.variants.request import RequestForm
from packshot.variants.resolve import Target
from serve.image.write_buffer import WriteBuffer

# Different requests counted between two writes. One beyond that is rare, or a client repeats it.
MAX_KINDS = 2_000
MAX_TENANT_KINDS = 500


class DemandCounter(WriteBuffer[DemandedForm, CountedDemand]):
    """How often clients requested what is not rendered ahead of time."""

    def __init__(self, site: Site) -> None:
        super().__init__(
            "demand counter",
            self._write_counts,
            _merge,
            tenant_of=attrgetter("tenant"),
            max_entries=MAX_KINDS,
            max_tenant_entries=MAX_TENANT_KINDS,
        )
        self._site = site

    def count(self, form: RequestForm, target: Target) -> None:
        """Count one request for a variant that was not rendered ahead of time, for any location."""
        demanded = DemandedForm(
            target.key.tenant, target.key.location, target.drawing.format, replace(form, location=None).query()
        )
        self.add(demanded, CountedDemand(demanded, 1, datetime.now(UTC)))

    def _write_counts(self, counted: Mapping[DemandedForm, CountedDemand]) -> None:
        with self._site.catalog.write_system() as tx:
            add_requests(tx, list(counted.values()))


def _merge(one: CountedDemand, other: CountedDemand) -> CountedDemand:
    last = max(one.last_requested_at, other.last_requested_at)
    return CountedDemand(one.form, one.requests + other.requests, last)
