"""Originals that are missing from their store or damaged: the jobs that need them fail, with every kind of store."""

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import boto3.session
import pytest

from packshot.catalog.work.jobs import Job, JobState
from packshot.errors import ErrorCode, OriginalLost
from packshot.production import check_original
from packshot.site import original_key
from packshot.storage import s3_client
from packshot.storage.base import ObjectStore
from packshot.storage.s3 import S3Store
from pregen.refreshing.refresh import LOST_AFTER_OUTAGES
from resolvers import jobs
from tests.pregen.refreshing.test_changes import put
from tests.servers.seaweed import Seaweed
from tests.support.clock import MovedClock
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground

HOUR = timedelta(hours=1)
Spoil = Callable[[str], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> MovedClock:
    return MovedClock(monkeypatch)


@pytest.fixture(params=["sqlite"])
def database_url() -> None:
    """SQLite only: the database makes no difference."""


@pytest.fixture(params=["folder", "s3"])
def overwrite(request: pytest.FixtureRequest, playground: Playground, monkeypatch: pytest.MonkeyPatch) -> Spoil:
    """Keep originals in a folder or on S3, and write other bytes under one of their keys, bypassing the store."""
    if request.param == "folder":

        def overwrite_file(key: str) -> None:
            path = playground.site.originals.local_path(key)
            assert path is not None
            body = path.read_bytes()
            path.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))

        return overwrite_file
    s3: Seaweed = request.getfixturevalue("s3")
    monkeypatch.setattr(s3_client, "FIRST_PAUSE", 0.01)
    bucket, prefix = request.getfixturevalue("bucket"), secrets.token_hex(6)
    store: ObjectStore = S3Store(bucket, prefix=prefix, endpoint_url=s3.endpoint_url)
    playground.use(replace(playground.site, originals=store))
    client = boto3.session.Session().client("s3", endpoint_url=s3.endpoint_url, region_name="us-east-1")

    def overwrite_object(key: str) -> None:
        place = {"Bucket": bucket, "Key": f"{prefix}/{key}"}
        kept = client.get_object(**place)
        body = kept["Body"].read()
        other = body[:-1] + bytes([body[-1] ^ 1])
        client.put_object(**place, Body=other, Metadata=kept["Metadata"], ContentType=kept["ContentType"])

    return overwrite_object


def two_packs(playground: Playground) -> str:
    """Make two rendered packs. Return the key of the first one's original."""
    pack_id = playground.pack(picture=photo(64, 48))
    playground.pack(picture=photo(48, 64))
    playground.run_jobs()
    original = playground.snapshot(pack_id).pack_location("main").original
    assert original is not None
    return original_key(TENANT, original.sha256)


def check_change(playground: Playground, job: Job, message: str) -> None:
    """Check that a change waits for a user because of one original, and is activated after the user accepts that."""
    ended = playground.job(job)
    assert ended.state is JobState.AWAITING_ACTIVATION
    assert (ended.done > 0, ended.failed > 0) == (True, True)
    (failure,) = jobs.list_failures(playground.caller, job.id, first=10, after=None).items
    assert (failure.code, failure.message) == (ErrorCode.UNRENDERABLE, message)
    jobs.activate_job(playground.caller, job.id, accept_failures=True)
    playground.run_jobs()
    assert playground.job(job).activated_at is not None


def test_a_damaged_original_fails_its_part_of_a_change(playground: Playground, overwrite: Spoil) -> None:
    key = two_packs(playground)
    overwrite(key)
    job = put(playground, "main", width=40, height=30)
    playground.run_jobs()
    check_change(playground, job, "The original in its store is damaged; upload it again.")


def test_a_missing_original_is_awaited_visibly_and_then_fails_its_part(
    playground: Playground, overwrite: Spoil, clock: MovedClock
) -> None:
    key = two_packs(playground)
    playground.site.originals.delete(key)
    job = put(playground, "main", width=40, height=30)
    for number in range(1, LOST_AFTER_OUTAGES + 1):
        playground.run_jobs()
        assert playground.job(job).state is JobState.RUNNING
        (retry,) = jobs.list_retries(playground.caller, job.id, first=10)
        assert (retry.attempts, retry.outages) == (0, number)
        assert key in retry.reason
        assert retry.next_attempt_at is not None
        clock.move(HOUR)
    playground.run_jobs()
    check_change(playground, job, "The original is missing from its store; upload it again.")


def test_a_client_gets_the_failure_at_once(playground: Playground, overwrite: Spoil) -> None:
    key = two_packs(playground)
    digest = key.partition("/")[2]
    check_original(playground.site, TENANT, digest)
    overwrite(key)
    with pytest.raises(OriginalLost, match="damaged"):
        check_original(playground.site, TENANT, digest)
    playground.site.originals.delete(key)
    with pytest.raises(OriginalLost, match="missing"):
        check_original(playground.site, TENANT, digest)
