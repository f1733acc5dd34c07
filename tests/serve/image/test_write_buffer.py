"""Write buffers reach the database, even if one entry of a batch is refused."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from packshot.variants.demand import CountedDemand, DemandedForm
from packshot.variants.request import parse_request
from serve.image import write_buffer
from serve.image.demand import DemandCounter
from serve.image.recency import Recency
from serve.image.write_buffer import WriteBuffer
from tests.serve.image.test_demand import rows
from tests.support.playground import TENANT, Playground


class Table:
    """A table that stores a batch whole or not at all, and refuses keys that begin with "bad"."""

    def __init__(self) -> None:
        self.stored: dict[str, int] = {}
        self.outage: Exception | None = None
        self.batches = 0

    def store(self, batch: Mapping[str, int]) -> None:
        self.batches += 1
        if self.outage:
            raise self.outage
        if any(key.startswith("bad") for key in batch):
            raise ValueError("the value is refused")
        for key, value in batch.items():
            self.stored[key] = self.stored.get(key, 0) + value


def make_buffer(table: Table, *, max_entries: int = 1000, max_tenant_entries: int = 1000) -> WriteBuffer[str, int]:
    return WriteBuffer(
        "test buffer",
        table.store,
        lambda one, other: one + other,
        tenant_of=lambda key: key.partition("/")[0],
        max_entries=max_entries,
        max_tenant_entries=max_tenant_entries,
    )


def test_a_refused_entry_is_dropped_and_the_others_are_written_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    table = Table()
    buffer = make_buffer(table)
    good = [f"good/{number}" for number in range(100)]
    for key in [*good[:37], "bad/1", *good[37:], "bad/2"]:
        buffer.add(key, 1)
    buffer.write()
    assert table.stored == dict.fromkeys(good, 1)
    assert caplog.text.count("dropped an entry of bad") == 2
    before = table.batches
    buffer.write()
    assert table.batches == before, "no entry is retried"


def test_a_table_that_refuses_every_entry_gets_a_bounded_number_of_batches() -> None:
    table = Table()
    buffer = make_buffer(table)
    for number in range(1000):
        buffer.add(f"bad/{number}", 1)
    with pytest.raises(ValueError, match="refused"):
        buffer.write()
    assert table.batches < 10 * write_buffer.MAX_REFUSED


def test_an_outage_keeps_every_entry_and_merges_later_ones() -> None:
    table = Table()
    buffer = make_buffer(table)
    buffer.add("good/1", 1)
    table.outage = OSError("away")
    with pytest.raises(OSError, match="away"):
        buffer.write()
    assert table.batches == 1, "an outage is not retried with each half of the batch"
    buffer.add("good/1", 1)
    table.outage = None
    buffer.write()
    assert table.stored == {"good/1": 2}


def test_a_buffer_that_cannot_write_its_last_entries_still_stops() -> None:
    table = Table()
    buffer = make_buffer(table)
    buffer.start()
    buffer.add("good/1", 1)
    table.outage = RuntimeError("unforeseen")
    buffer.stop()
    buffer.join()
    assert table.stored == {}


def test_a_tenant_that_fills_its_share_leaves_room_for_others() -> None:
    table = Table()
    buffer = make_buffer(table, max_entries=10, max_tenant_entries=7)
    for number in range(20):
        buffer.add(f"loud/{number}", 1)
    for number in range(20):
        buffer.add(f"quiet/{number}", 1)
    buffer.write()
    assert sum(key.startswith("loud/") for key in table.stored) == 7
    assert sum(key.startswith("quiet/") for key in table.stored) == 3


def test_a_bad_row_does_not_lose_other_counts(playground: Playground) -> None:
    counter, recency = DemandCounter(playground.site), Recency(playground.site)
    target = playground.target(playground.pack(), "width=9")
    wrong = DemandedForm(TENANT, "main", target.drawing.format, "width=11")
    counter.count(parse_request("width=9"), target)
    counter.add(wrong, CountedDemand(wrong, 2**80, datetime.now(UTC)))
    counter.count(parse_request("width=10"), target)
    counter.write()
    assert rows(playground) == {"width=9": 1, "width=10": 1}
    recency.note("no key")
    recency.note(str(target.key))
    recency.write()
    assert not recency._entries
