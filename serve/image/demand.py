"""Count on-demand requests: in memory at once, in the database every few seconds."""

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

# Different forms counted between two writes. The counter ignores further forms until the next write.
MAX_KINDS = 2_000
MAX_TENANT_KINDS = 500


class DemandCounter(WriteBuffer[DemandedForm, CountedDemand]):
    """The number of on-demand requests of each form."""

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
        """Count one on-demand request for an unplanned variant. The form is counted without its location."""
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
