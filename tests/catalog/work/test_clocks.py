"""Clocks: due times and leases follow the database's clock, and no pause outlasts a clock that moves back."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from packshot.catalog.clients import tokens, webhook_deliveries, webhooks
from packshot.catalog.clients.webhook_deliveries import PAUSES
from packshot.catalog.clients.webhooks import Event
from packshot.catalog.database import leases, transaction
from packshot.catalog.database.transaction import Tx, next_sequence
from packshot.catalog.purging import purge_batches, purges
from packshot.catalog.tables.work import webhook_deliveries as delivery_table
from packshot.catalog.work import erasures, jobs, orders, url_imports
from packshot.catalog.work.jobs import JobKind
from packshot.catalog.work.orders import Priority
from packshot.catalog.work.worker_state import read_worker_state
from packshot.maintenance import erase
from resolvers import packs
from resolvers.tokens import create_token, find_token
from tests.support.clock import MovedClock
from tests.support.playground import TENANT, Playground

HOUR = timedelta(hours=1)
SETTLING = timedelta(minutes=15)

Do = Callable[[Tx], Any]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MovedClock:
    return MovedClock(monkeypatch)


def write(playground: Playground, act: Do) -> Any:
    with playground.site.catalog.write(TENANT) as tx:
        return act(tx)


def make_pack(playground: Playground) -> str:
    return packs.create_pack(playground.caller, {}).pack.id


class FarOff(datetime):
    """A machine whose clock is a year ahead."""

    @classmethod
    def now(cls, tz: Any = None) -> "FarOff":
        return cls.fromtimestamp(datetime.now().timestamp() + timedelta(days=365).total_seconds(), tz)


def test_moments_are_the_databases_for_readers_and_writers(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = playground.site.catalog
    if catalog.is_sqlite:
        pytest.skip("SQLite has no clock of its own")
    monkeypatch.setattr(transaction, "datetime", FarOff)
    for begin in (catalog.read, catalog.write):
        with begin(TENANT) as tx:
            assert abs(tx.now - datetime.now(UTC)) < HOUR
            assert tx.connection.scalar(sa.select(tx.clock)) == tx.now


def test_a_reader_that_asks_for_no_moment_asks_the_database_for_none(playground: Playground) -> None:
    seen: list[str] = []

    def note(connection: object, cursor: object, statement: str, *_: object) -> None:
        seen.append(statement)

    catalog = playground.site.catalog
    sa.event.listen(catalog.engine, "before_cursor_execute", note)
    with catalog.read(TENANT) as tx:
        tx.connection.scalar(sa.select(1))
    assert not [statement for statement in seen if "now()" in statement]


def test_a_token_ends_by_the_databases_clock(playground: Playground, clock: MovedClock) -> None:
    ends = datetime.now(UTC) + HOUR
    _, secret = create_token(playground.caller, "a", ["read"], expires_at=ends)
    assert find_token(playground.site, secret) is not None
    clock.move(HOUR)
    assert find_token(playground.site, secret) is None


def failed_fetch(playground: Playground) -> Callable[[], bool]:
    pack_id = make_pack(playground)
    with playground.site.catalog.write(TENANT) as tx:
        job = jobs.create_job(tx, JobKind.IMPORT, Priority.BULK)
        url_imports.order_imports(tx, job, {(pack_id, "main"): "http://a.example/"})
        claimed = url_imports.claim_due(tx)
        assert claimed is not None
        assert url_imports.retry(tx, claimed[1], "no response")
    return lambda: write(playground, url_imports.is_due)


def held_fetch(playground: Playground) -> Callable[[], bool]:
    pack_id = make_pack(playground)
    with playground.site.catalog.write(TENANT) as tx:
        job = jobs.create_job(tx, JobKind.IMPORT, Priority.BULK)
        url_imports.order_imports(tx, job, {(pack_id, "main"): "http://a.example/"})
        assert url_imports.claim_due(tx) is not None
    return lambda: write(playground, url_imports.claim_due) is not None


def failed_delivery(playground: Playground, attempt: int = 1) -> Callable[[], bool]:
    with playground.site.catalog.write(TENANT) as tx:
        webhooks.create_webhook(tx, "http://a.example/", [Event.PACK_CHANGED], lambda place, secret: secret.encode())
        webhook_deliveries.add_delivery(tx, Event.PACK_CHANGED, {})
        tx.connection.execute(sa.update(delivery_table).values(attempts=attempt - 1))
        ((_, claim),) = webhook_deliveries.claim_due(tx, limit=1, each=1)
        webhook_deliveries.end_attempt(tx, claim, None, "no response")
    return lambda: write(playground, webhook_deliveries.is_due)


def late_delivery(playground: Playground) -> Callable[[], bool]:
    return failed_delivery(playground, len(PAUSES))


def held_delivery(playground: Playground) -> Callable[[], bool]:
    with playground.site.catalog.write(TENANT) as tx:
        webhooks.create_webhook(tx, "http://a.example/", [Event.PACK_CHANGED], lambda place, secret: secret.encode())
        webhook_deliveries.add_delivery(tx, Event.PACK_CHANGED, {})
        assert webhook_deliveries.claim_due(tx, limit=1, each=1)
    return lambda: bool(write(playground, lambda tx: webhook_deliveries.claim_due(tx, limit=1, each=1)))


def _ordered(playground: Playground) -> tuple[str, orders.OrderClaim]:
    pack_id = make_pack(playground)
    with playground.site.catalog.write(TENANT) as tx:
        orders.place_orders(tx, [pack_id], next_sequence(tx), Priority.BULK, check_store=False)
        (claim,) = orders.claim(tx, [pack_id])
    return pack_id, claim


def failed_order(playground: Playground) -> Callable[[], bool]:
    pack_id, claim = _ordered(playground)
    write(playground, lambda tx: orders.postpone(tx, claim, "the store is away"))

    def is_taken() -> bool:
        due = write(playground, lambda tx: orders.take_due(tx, Priority.BULK, limit=1))
        return bool(due) and bool(write(playground, lambda tx: orders.claim(tx, [pack_id])))

    return is_taken


def held_order(playground: Playground) -> Callable[[], bool]:
    pack_id, _ = _ordered(playground)
    return lambda: bool(write(playground, lambda tx: orders.claim(tx, [pack_id])))


def failed_purge(playground: Playground) -> Callable[[], bool]:
    pack_id = make_pack(playground)
    with playground.site.catalog.write(TENANT) as tx:
        purges.order_erasing_purge(tx, pack_id, cause="a test")
        for batch in purge_batches.claim_due(tx, limit=10, most_tags=10):
            purge_batches.postpone(tx, batch, "the CDN is away")
    return lambda: write(playground, purge_batches.is_due)


def held_lease(playground: Playground) -> Callable[[], bool]:
    def take(holder: str) -> bool:
        return bool(write(playground, lambda tx: leases.take_lease(tx, "a", holder, timedelta(seconds=5))))

    assert take("the first")
    return lambda: take("the second")


WAITS = (
    failed_fetch,
    held_fetch,
    failed_delivery,
    late_delivery,
    held_delivery,
    failed_order,
    held_order,
    failed_purge,
    held_lease,
)


@pytest.mark.parametrize("wait", WAITS)
def test_nothing_waits_longer_because_the_clock_moved_back(
    playground: Playground, clock: MovedClock, wait: Callable[[Playground], Callable[[], bool]]
) -> None:
    is_over = wait(playground)
    assert not is_over(), "it waits"
    clock.move(-HOUR)
    assert is_over()


@pytest.mark.parametrize("wait", WAITS)
def test_nothing_waits_for_ever(
    playground: Playground, clock: MovedClock, wait: Callable[[Playground], Callable[[], bool]]
) -> None:
    is_over = wait(playground)
    clock.move(PAUSES[-1] + timedelta(seconds=1))
    assert is_over()


def test_the_second_pass_of_an_erasure_comes_not_too_soon_and_not_an_hour_late(
    playground: Playground, clock: MovedClock
) -> None:
    pack_id = make_pack(playground)

    def claim() -> erasures.ErasureClaim | None:
        found: erasures.ErasureClaim | None = write(playground, lambda tx: erasures.claim_due(tx, SETTLING))
        return found

    with playground.site.catalog.write(TENANT) as tx:
        job = jobs.create_job(tx, JobKind.ERASE, Priority.INTERACTIVE)
        erasures.order_erasure(tx, pack_id, job, [])
    held = claim()
    assert held is not None
    write(playground, lambda tx: erasures.end_pass(tx, held, jobs.Counts(), again_after=SETTLING))
    clock.move(-HOUR)
    assert claim() is None, "what is being put now must be erased as well"
    clock.move(SETTLING)
    assert claim() is not None


def test_a_tombstone_from_before_the_clock_moved_back_is_replayed(playground: Playground, clock: MovedClock) -> None:
    erase.set_tombstone(playground.site, TENANT, make_pack(playground), reason="asked for", by="a test")
    assert erase.replay_tombstones(playground.site) == 0, "its mutation may be under way"
    clock.move(-HOUR)
    assert erase.replay_tombstones(playground.site) == 1


def test_a_dead_worker_seems_alive_no_longer_because_the_clock_moved_back(
    playground: Playground, clock: MovedClock
) -> None:
    playground.dispatcher.step()
    assert write(playground, read_worker_state).has_worker
    if playground.site.catalog.is_sqlite:
        clock.move(-HOUR)
    else:
        # The statement reads the server's clock, which the test cannot move.
        write(playground, lambda tx: tx.connection.execute(sa.text("UPDATE leases SET until = until + interval '1 h'")))
    assert not write(playground, read_worker_state).has_worker


def test_tokens_know_no_moment_but_the_given(playground: Playground) -> None:
    _, secret = create_token(playground.caller, "a", ["read"], expires_at=datetime.now(UTC) + HOUR)
    found = write(playground, lambda tx: tokens.find_token(tx, tokens.digest_of(secret)))
    assert found.is_good(found.expires_at - timedelta(microseconds=1))
    assert not found.is_good(found.expires_at)
