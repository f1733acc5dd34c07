"""Which jobs can be paused: those that render. Which can be cancelled: those and URL imports. No others."""

from collections.abc import Callable

import pytest

from packshot.catalog.work.jobs import Job, JobState
from packshot.errors import BadState
from resolvers import jobs, maintenance
from resolvers.caller import Caller
from resolvers.originals import Source
from resolvers.pack_imports import NewOriginal, NewPack, create_pack
from resolvers.packs import erase_pack
from resolvers.purges import purge
from tests.pregen.services.test_eraser import finish
from tests.support.playground import Playground

RENDERS, FETCHES_TOO = "a job that renders", "a job that renders, or one that fetches originals"


def importing(playground: Playground) -> Job:
    by_url = NewOriginal("main", Source(url="http://host.invalid/a.jpg"))
    _, job = create_pack(playground.caller, NewPack({}, originals=[by_url]))
    assert job is not None
    return job


def erasing(playground: Playground) -> Job:
    return erase_pack(playground.caller, playground.pack(), "rights")


def purging(playground: Playground) -> Job:
    return purge(playground.caller, pack_ids=None, location="main")


def collecting(playground: Playground) -> Job:
    return maintenance.collect(playground.caller, lambda _: None)[1]


def scrubbing(playground: Playground) -> Job:
    return maintenance.scrub_tenant(playground.caller, deep=False, seen=lambda _: None)[1]


def refused(act: Callable[[Caller, str], Job], playground: Playground, job: Job) -> tuple[str | None, str | None]:
    """Try to stop a job, which must be refused and change nothing. Return the expected and the actual value of the
    refusal.
    """
    with pytest.raises(BadState) as refusal:
        act(playground.caller, job.id)
    assert playground.job(job) == job
    assert refusal.value.field == ("id",)
    return refusal.value.expected, refusal.value.got


@pytest.mark.parametrize("begin", [importing, erasing, purging, collecting, scrubbing])
def test_only_what_renders_can_be_paused(playground: Playground, begin: Callable[[Playground], Job]) -> None:
    job = begin(playground)
    for act in (jobs.pause_job, jobs.resume_job):
        assert refused(act, playground, job) == (RENDERS, job.kind.value.upper())


@pytest.mark.parametrize("begin", [erasing, purging, collecting, scrubbing])
def test_what_purges_erases_or_looks_after_the_stores_cannot_be_cancelled(
    playground: Playground, begin: Callable[[Playground], Job]
) -> None:
    job = begin(playground)
    assert refused(jobs.cancel_job, playground, job) == (FETCHES_TOO, job.kind.value.upper())


def test_an_erasure_that_was_not_cancelled_is_carried_out(playground: Playground) -> None:
    job = erasing(playground)
    refused(jobs.cancel_job, playground, job)
    finish(playground)
    assert playground.job(job).state is JobState.SUCCEEDED
    assert list(playground.site.originals.list("")) == []


def test_an_import_that_has_ended_is_not_cancelled(playground: Playground) -> None:
    job = importing(playground)
    jobs.cancel_job(playground.caller, job.id)
    ended = playground.job(job)
    assert ended.state is JobState.CANCELLED
    assert refused(jobs.cancel_job, playground, ended)[1] == "CANCELLED"
