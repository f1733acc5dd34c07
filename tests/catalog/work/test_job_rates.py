"""A job's rate is about the present, and the job says when no worker runs."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from packshot.catalog.database import leases
from packshot.catalog.tables.work import jobs, orders
from packshot.catalog.work import jobs as job_rows
from packshot.catalog.work.job_rates import current_rate
from packshot.catalog.work.jobs import NO_WORKER, Job, JobFilter, JobState
from packshot.catalog.work.orders import LEASE_TIME, Priority, claim
from packshot.catalog.work.worker_state import DISPATCHER, read_worker_state
from resolvers import jobs as resolved
from resolvers.live_updates import read_subjects
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class Row:
    """The columns of a job that ran for a minute at ten variants per second; the last one ended at `heartbeat_at`."""

    rate: float | None = 10.0
    rate_at: datetime | None = START + timedelta(seconds=60)
    rate_done: int = 0
    started_at: datetime | None = START
    heartbeat_at: datetime | None = START + timedelta(seconds=60)
    done: int = 600
    skipped: int = 0
    failed: int = 0


def _at(seconds: float) -> datetime:
    return START + timedelta(seconds=60 + seconds)


def test_the_rate_falls_to_nothing_within_a_minute_after_the_last_end() -> None:
    seen = [current_rate(Row(), _at(seconds)) for seconds in (0, 4.9, 5, 15, 30, 55, 60, 100, 9000)]
    assert seen[:2] == [10.0, 10.0], "between two steps it stays the same"
    assert seen == sorted(seen, key=lambda rate: -(rate or 0.0))
    assert seen[4] == pytest.approx(5.0)
    assert seen[6:] == [0.0, 0.0, 0.0]


def test_a_follower_is_told_of_a_bounded_number_of_rates_while_nothing_ends() -> None:
    assert len({current_rate(Row(), _at(tenth / 10)) for tenth in range(2000)}) <= 13


def test_what_ended_since_the_last_stretch_counts() -> None:
    row = Row(rate_done=50, heartbeat_at=_at(5))
    assert current_rate(row, _at(5)) == pytest.approx(10.0)
    slow = Row(rate=0.01, rate_done=1, rate_at=_at(-50), heartbeat_at=_at(40))
    assert current_rate(slow, _at(42)) == pytest.approx(1 / 90)


def test_a_rate_before_the_first_stretch_ends_is_over_all_of_the_time() -> None:
    young = Row(rate=None, rate_at=None, done=8, heartbeat_at=START + timedelta(seconds=4))
    assert current_rate(young, START + timedelta(seconds=4)) == 2.0
    assert current_rate(young, START + timedelta(seconds=14.5)) == pytest.approx(8 / 14)
    assert current_rate(young, START + timedelta(seconds=70)) == 0.0
    assert current_rate(Row(rate=None, rate_at=None, heartbeat_at=None), _at(0)) is None
    assert current_rate(Row(started_at=None), _at(0)) is None


def test_a_clock_that_moved_back_gives_no_negative_rate() -> None:
    assert current_rate(Row(), _at(-3600)) == 10.0


def _age(playground: Playground, job: Job, **values: object) -> Job:
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(**values))
    return playground.job(job)


def _open_job(playground: Playground) -> Job:
    """A job that has rendered one of two packs, at a known rate, just now."""
    pack_ids = [playground.pack(picture=photo(16, 16, seed=seed)) for seed in range(2)]
    job = resolved.regenerate_packs(playground.caller, pack_ids, Priority.BULK)
    with playground.site.catalog.write(TENANT) as tx:
        now = tx.now
        assert leases.take_lease(tx, DISPATCHER, "a worker", LEASE_TIME)
    return _age(
        playground, job, state="running", started_at=now, heartbeat_at=now, rate=23.0, rate_at=now, rate_done=0, done=3
    )


def test_a_job_whose_workers_died_has_no_pace_and_says_so(playground: Playground) -> None:
    job = _open_job(playground)
    assert job.variants_per_second == pytest.approx(23.0)
    assert job.stalled_reason is None
    assert job.eta_seconds is not None
    with playground.site.catalog.write_system() as tx:
        leases.release_all(tx)
        then = tx.now - timedelta(seconds=100)
    dead = _age(playground, job, heartbeat_at=then, rate_at=then, started_at=then)
    assert (dead.variants_per_second, dead.eta_seconds) == (0.0, None)
    assert dead.stalled_reason == NO_WORKER
    listed = resolved.list_jobs(playground.caller, first=5, after=None, only=JobFilter()).items
    assert {each.id: each.stalled_reason for each in listed}[job.id] == NO_WORKER
    followed = read_subjects(playground.site, [("job", TENANT, job.id)])
    assert followed["job", TENANT, job.id].stalled_reason == NO_WORKER


def test_a_job_that_is_quiet_while_a_worker_lives_is_not_said_to_have_none(playground: Playground) -> None:
    job = _open_job(playground)
    with playground.site.catalog.write_system() as tx:
        then = tx.now - timedelta(seconds=100)
    assert _age(playground, job, heartbeat_at=then).stalled_reason is None


@pytest.mark.parametrize("state", [JobState.PAUSED, JobState.AWAITING_ACTIVATION])
def test_a_job_that_is_stopped_has_no_pace(playground: Playground, state: JobState) -> None:
    job = _age(playground, _open_job(playground), state=state.value)
    assert (job.variants_per_second, job.eta_seconds, job.stalled_reason) == (None, None, None)


def test_a_lease_that_is_renewed_is_a_worker_too(playground: Playground) -> None:
    pack_id = playground.pack(picture=photo(16, 16))
    with playground.site.catalog.write_system() as tx:
        assert not read_worker_state(tx).has_worker
    with playground.site.catalog.write(TENANT) as tx:
        assert claim(tx, [pack_id])
        assert read_worker_state(tx).has_worker
        tx.connection.execute(sa.update(orders).values(lease_until=tx.now + timedelta(seconds=30)))
        assert not read_worker_state(tx).has_worker, "no worker has renewed it for half a minute"
        tx.connection.execute(sa.update(orders).values(lease_until=None, due_at=tx.now - timedelta(seconds=50)))
        assert read_worker_state(tx).due_seconds == pytest.approx(50.0)


def test_the_clock_of_the_database_counts(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    if playground.site.catalog.is_sqlite:
        pytest.skip("SQLite has no clock of its own")
    job = _open_job(playground)

    class Late(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "datetime":  # type: ignore[override]
            return datetime.now(UTC) + timedelta(hours=1)

    monkeypatch.setattr("packshot.catalog.database.transaction.datetime", Late)
    with playground.site.catalog.read(TENANT) as tx:
        found = job_rows.get_job(tx, job.id)
    assert found.variants_per_second == pytest.approx(23.0, rel=0.2)
