"""Faults in background work: after a few attempts the item fails for good."""

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packshot.catalog.clients import webhook_deliveries
from packshot.catalog.clients.webhook_deliveries import DeliveryState
from packshot.catalog.clients.webhooks import Event
from packshot.catalog.database import leases
from packshot.catalog.database.backoff import MAX_FAULTS
from packshot.catalog.purging import purges
from packshot.catalog.purging.purges import PurgeState
from packshot.catalog.tables.work import url_imports as fetch_table
from packshot.catalog.tables.work import webhook_deliveries as delivery_table
from packshot.catalog.variants.ledger import VariantState
from packshot.catalog.work import url_imports
from packshot.catalog.work.jobs import Failure, Job, JobState
from packshot.catalog.work.orders import Priority
from packshot.errors import BadState, ErrorCode
from packshot.geometry import Crop
from packshot.render.processes.pool import Renderer
from packshot.variants.resolve import planned_all
from pregen.refreshing.refresh import refresh_packs
from pregen.services.purger import Purger
from pregen.services.webhook_sender import WebhookSender
from resolvers import jobs, pack_imports, packs
from resolvers import webhooks as webhook_calls
from resolvers.originals import Source
from resolvers.pack_imports import NewOriginal, NewPack
from resolvers.packs import erase_pack
from resolvers.purges import purge
from tests.pregen.refreshing.test_changes import put
from tests.pregen.services.test_purger import RecordingPurger
from tests.servers.host import Host, giving
from tests.support.clock import MovedClock
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground

HOUR = timedelta(hours=1)
ERROR_ID = re.compile(r"error id ([0-9a-f]{16})")


def stumble(*_: Any, **__: Any) -> Any:
    raise LookupError("an unforeseen fault")


@pytest.fixture
def playground(tmp_path: Path, renderer: Renderer, database_url: str | None) -> Iterator[Playground]:
    playground = Playground(tmp_path / "data", renderer, database_url=database_url, fetch_allow="127.0.0.1")
    yield playground
    playground.site.catalog.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MovedClock:
    return MovedClock(monkeypatch)


@dataclass
class Kind:
    """One kind of background work that raises an exception at each attempt.

    Attributes:
        breaks: the function that raises.
        begin: orders the work, and returns its job.
        attempt: carries the work out, as a new process that knows nothing of earlier attempts.
    """

    breaks: str
    begin: Callable[[Playground, Host], Job]
    attempt: Callable[[Playground], None]


def render(playground: Playground, _: Host) -> Job:
    return playground.show(playground.pack(), "main", photo(64, 48))


def change(playground: Playground, _: Host) -> Job:
    playground.pack(picture=photo(64, 48))
    playground.run_jobs()
    return put(playground, "main", width=40, height=30)


def regenerate(playground: Playground, _: Host) -> Job:
    playground.pack(picture=photo(64, 48))
    playground.run_jobs()
    return jobs.regenerate_tenant(playground.caller, None, Priority.BULK)


def fetch(playground: Playground, host: Host) -> Job:
    host.answers["/a"] = giving(jpeg(photo(40, 20)))
    new = NewPack({}, originals=[NewOriginal("main", Source(url=host.url("/a")))])
    job = pack_imports.create_packs(playground.caller, [new], pack_imports.OnExisting.FAIL)[1]
    assert job is not None
    return job


def erase(playground: Playground, _: Host) -> Job:
    pack_id = playground.pack(picture=photo(64, 48))
    playground.run_jobs()
    return erase_pack(playground.caller, pack_id, reason="asked for")


def restart(playground: Playground) -> None:
    """Continue as new processes, after the leases of the earlier ones have expired."""
    playground.use(playground.site)
    with playground.site.catalog.write(TENANT) as tx:
        leases.release_all(tx)


def work(playground: Playground) -> None:
    restart(playground)
    playground.run_jobs()


def erase_next(playground: Playground) -> None:
    work(playground)
    playground.eraser.erase_next()


KINDS = {
    "render": Kind("pregen.refreshing.refresh.render_variants", render, work),
    "plan": Kind("pregen.refreshing.refresh.planned_all", render, work),
    "announce": Kind("pregen.refreshing.refresh.announce", render, work),
    "record": Kind("pregen.refreshing.refresh.record_results", render, work),
    "prepare": Kind("pregen.refreshing.refresh.render_variants", change, work),
    "fetch": Kind("pregen.services.url_importer.fetch_original", fetch, work),
    "erase": Kind("pregen.services.eraser.erase", erase, erase_next),
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_it_fails_after_a_few_attempts_and_its_job_ends(
    playground: Playground,
    host: Host,
    clock: MovedClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: Kind,
) -> None:
    job = kind.begin(playground, host)
    met = []

    def meet(*args: Any, **kwargs: Any) -> Any:
        met.append(args)
        stumble()

    monkeypatch.setattr(kind.breaks, meet)
    clock.move(HOUR)
    for number in range(1, MAX_FAULTS + 1):
        open_states = {JobState.QUEUED, JobState.RUNNING}
        assert playground.job(job).state in open_states, f"ended before attempt {number}"
        kind.attempt(playground)
        assert len(met) == number, "each attempt waits until it is due"
        if number < MAX_FAULTS:
            (retry,) = jobs.list_retries(playground.caller, job.id, first=10)
            assert (retry.attempts, retry.outages) == (number, 0)
            assert ERROR_ID.search(retry.reason)
            kind.attempt(playground)
            assert len(met) == number, "and no longer"
        clock.move(HOUR)
    kind.attempt(playground)
    ended = playground.job(job)
    expected = JobState.AWAITING_ACTIVATION if kind.begin is change else JobState.FAILED
    assert (ended.state, ended.done) == (expected, 0)
    assert len(met) == MAX_FAULTS
    failure = only_failure(playground, job)
    assert (failure.code, failure.attempts) == (ErrorCode.INTERNAL, MAX_FAULTS)
    assert failure.pack_id
    found = ERROR_ID.search(failure.message)
    assert found, failure.message
    assert any(found[1] in record.getMessage() and record.levelno == logging.ERROR for record in caplog.records)
    assert not jobs.list_retries(playground.caller, job.id, first=10)


def only_failure(playground: Playground, job: Job) -> Failure:
    (failure,) = jobs.list_failures(playground.caller, job.id, first=10, after=None).items
    return failure


def test_a_pack_that_nobody_can_render_takes_no_other_of_its_batch_along(
    playground: Playground, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = playground.pack(picture=photo(64, 48)), playground.pack(picture=photo(48, 64))

    def stumbling(snapshot: Any, *args: Any, **kwargs: Any) -> Any:
        if snapshot.pack.id == bad:
            stumble()
        return planned_all(snapshot, *args, **kwargs)

    monkeypatch.setattr("pregen.refreshing.refresh.planned_all", stumbling)
    for _ in range(MAX_FAULTS):
        refresh_packs(playground.site, TENANT, [bad, good])
        clock.move(HOUR)
    assert {entry.state for entry in playground.entries(good).values()} == {VariantState.READY}
    assert playground.entries(bad) == {}
    monkeypatch.undo()
    packs.set_crop(playground.caller, bad, "main", Crop(0, 0, 1, 0.5))
    playground.run_jobs()
    assert {entry.state for entry in playground.entries(bad).values()} == {VariantState.READY}, "an edit begins again"


def test_what_failed_so_is_tried_again_when_somebody_asks_for_it(
    playground: Playground, clock: MovedClock, monkeypatch: pytest.MonkeyPatch, host: Host
) -> None:
    job = render(playground, host)
    with monkeypatch.context() as patched:
        patched.setattr("pregen.refreshing.refresh.render_variants", stumble)
        for _ in range(MAX_FAULTS):
            playground.run_jobs()
            clock.move(HOUR)
        playground.run_jobs()
    assert playground.job(job).state is JobState.FAILED
    jobs.retry_failures(playground.caller, job.id)
    playground.run_jobs()
    assert playground.job(job).state is JobState.SUCCEEDED


def test_a_job_whose_packs_cannot_be_enqueued_ends_and_does_not_count_as_done(
    playground: Playground, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = regenerate(playground, host)
    with monkeypatch.context() as patched:
        patched.setattr("pregen.services.dispatcher.enqueue_portion", stumble)
        # The second step follows before the pause is over, even on a slow machine.
        patched.setattr("pregen.services.dispatcher.backoff.pause_after", lambda *_: HOUR)
        for number in range(MAX_FAULTS):
            assert playground.job(job).state is JobState.QUEUED
            restart(playground)
            playground.dispatcher.step()
            playground.dispatcher.step()
            retries = jobs.list_retries(playground.caller, job.id, first=10)
            assert [retry.attempts for retry in retries] == ([] if number + 1 == MAX_FAULTS else [number + 1])
    ended = playground.job(job)
    assert (ended.state, ended.failed) == (JobState.FAILED, 1)
    failure = only_failure(playground, job)
    assert (failure.code, failure.pack_id) == (ErrorCode.INTERNAL, "")
    assert ERROR_ID.search(failure.message)
    with pytest.raises(BadState, match="before it came to all packs"):
        jobs.retry_failures(playground.caller, job.id)


def test_a_change_that_cannot_go_live_waits_for_a_person(
    playground: Playground, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = change(playground, host)
    with monkeypatch.context() as patched:
        patched.setattr("pregen.services.dispatcher.activate_if_ready", stumble)
        for _ in range(MAX_FAULTS):
            work(playground)
    assert playground.job(job).state is JobState.AWAITING_ACTIVATION
    assert only_failure(playground, job).code is ErrorCode.INTERNAL
    jobs.activate_job(playground.caller, job.id, accept_failures=True)
    work(playground)
    ended = playground.job(job)
    assert ended.activated_at is not None
    assert ended.state is JobState.PARTIAL


def test_an_outage_of_the_database_within_a_jobs_step_counts_nothing(
    playground: Playground, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = regenerate(playground, host)

    def away(*_: Any, **__: Any) -> None:
        raise sa.exc.OperationalError("SELECT 1", {}, Exception("the database does not answer"))

    with monkeypatch.context() as patched:
        patched.setattr("pregen.services.dispatcher.enqueue_portion", away)
        for _ in range(MAX_FAULTS + 2):
            playground.dispatcher.step()
    playground.run_jobs()
    assert playground.job(job).state is JobState.SUCCEEDED


def test_a_purge_that_nobody_can_send_fails_and_takes_no_other_along(
    playground: Playground, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    purger = RecordingPurger()
    good, bad = playground.pack(picture=photo(64, 48)), playground.pack(picture=photo(48, 64))
    playground.run_jobs()
    clock.move(HOUR)
    carrier = Purger(replace(playground.site, purger=purger))
    while carrier.step():
        clock.move(HOUR)
    job = purge(playground.caller, pack_ids=[bad], location=None)
    packs.set_crop(playground.caller, good, "main", Crop(0, 0, 1, 0.5))
    real = purger.purge

    def send(tags: Any, **kwargs: Any) -> str:
        if any(bad in tag for tag in tags):
            stumble()
        return real(tags, **kwargs)

    monkeypatch.setattr(purger, "purge", send)
    for _ in range(MAX_FAULTS + 2):
        clock.move(HOUR)
        Purger(replace(playground.site, purger=purger)).step()
    assert playground.job(job).state is JobState.FAILED
    assert only_failure(playground, job).code is ErrorCode.INTERNAL
    with playground.site.catalog.read(TENANT) as tx:
        found = {row.scope: row for row in purges.list_purges(tx, first=100, after=None).items}
    states = {row.state for row in found.values() if good in row.scope}
    assert states == {PurgeState.SUCCEEDED}


def test_a_webhook_that_nobody_can_send_fails_and_says_why(
    playground: Playground, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook, _ = webhook_calls.create_webhook(playground.caller, "http://127.0.0.1:9/", [Event.PACK_CHANGED])
    packs.create_pack(playground.caller, {})
    monkeypatch.setattr("pregen.services.webhook_sender.post", stumble)
    for number in range(1, MAX_FAULTS + 1):
        assert WebhookSender(playground.site).send_due() == 1
        with playground.site.catalog.read(TENANT) as tx:
            (delivery,) = webhook_deliveries.list_deliveries(tx, webhook.id, first=10, after=None).items
        assert delivery.attempts == number
        assert ERROR_ID.search(delivery.error or "")
        assert (delivery.next_attempt_at is None) is (number == MAX_FAULTS)
        clock.move(HOUR)
    assert delivery.state is DeliveryState.FAILED
    assert WebhookSender(playground.site).send_due() == 0


def test_a_delivery_and_a_fetch_whose_process_ends_each_time_end_too(
    playground: Playground, clock: MovedClock, host: Host
) -> None:
    webhook, _ = webhook_calls.create_webhook(playground.caller, host.url("/"), [Event.PACK_CHANGED])
    job = fetch(playground, host)
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(delivery_table).values(attempts=webhook_deliveries.MAX_ATTEMPTS))
        for _ in range(url_imports.MAX_ATTEMPTS):
            assert url_imports.claim_due(tx)
            tx.connection.execute(sa.update(fetch_table).values(lease_until=None))
    assert WebhookSender(playground.site).send_due() >= 1
    work(playground)
    assert playground.job(job).state is JobState.FAILED
    with playground.site.catalog.read(TENANT) as tx:
        states = {
            delivery.state
            for delivery in webhook_deliveries.list_deliveries(tx, webhook.id, first=10, after=None).items
        }
    assert DeliveryState.FAILED in states
    assert host.requests == []


def test_an_upload_that_cannot_be_removed_does_not_keep_the_others(
    playground: Playground, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = jpeg(photo(60, 40))
    first, second = playground.upload(data), playground.upload(data)
    remove = playground.site.uploads.delete

    def delete(key: str) -> None:
        if key.endswith(first):
            stumble()
        remove(key)

    monkeypatch.setattr(playground.site.uploads, "delete", delete)
    clock.move(3 * HOUR)
    playground.dispatcher._sweep_uploads()
    assert [key for key in playground.site.uploads.list("") if key.endswith((first, second))] == [f"{TENANT}/{first}"]
