"""Erasures: nothing of an erased pack remains or returns, and no other pack loses anything."""

import logging
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3.session
import pytest
import sqlalchemy as sa

from packshot.catalog.tables.artwork import originals, pack_originals, variants
from packshot.catalog.tables.work import erasures as erasure_table
from packshot.catalog.variants import collection, tombstones
from packshot.catalog.work import erasures
from packshot.catalog.work.jobs import JobKind, JobState
from packshot.errors import Gone, Invalid, NotFound
from packshot.geometry import Crop
from packshot.maintenance import erase
from packshot.maintenance.collect import collect_all
from packshot.maintenance.scrub import scrub
from packshot.originals.ingest import keep_original
from packshot.production import announce_and_render
from packshot.render.processes.pool import Lane, Renderer
from packshot.storage.s3 import S3Store
from resolvers import packs as pack_calls
from resolvers.packs import erase_pack
from resolvers.purges import list_purges
from tests.pregen.services.test_collector import pass_days
from tests.servers.seaweed import Seaweed
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground


def let_pass(playground: Playground, duration: timedelta) -> None:
    """Move all times for which erasures wait into the past."""
    with playground.site.catalog.write(TENANT) as tx:
        for row in tx.connection.execute(sa.select(erasure_table)).all():
            until = row.lease_until and row.lease_until - duration
            tx.connection.execute(sa.update(erasure_table).values(due_at=row.due_at - duration, lease_until=until))


def run_eraser(playground: Playground) -> None:
    while playground.eraser.erase_next():
        pass


def finish(playground: Playground) -> None:
    run_eraser(playground)
    let_pass(playground, erase.settling_time(playground.settings))
    run_eraser(playground)


def left_of(playground: Playground, pack_id: str) -> list[str]:
    """Return every file whose path or bytes may belong to a pack."""
    return [str(path) for path in playground.settings.data.rglob("*") if pack_id in str(path) and path.is_file()]


def rows_of(playground: Playground) -> int:
    with playground.site.catalog.read(TENANT) as tx:
        return sum(
            tx.connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for table in (variants, originals, pack_originals)
        )


def test_every_byte_and_row_of_an_erased_pack_is_gone(playground: Playground, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    first, second = jpeg(photo(60, 40)), jpeg(photo(50, 40))
    pack_id = playground.pack(picture=first)
    playground.run_jobs()
    playground.show(pack_id, "main", second)
    playground.run_jobs()
    pack_calls.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 1, 0.5))
    playground.run_jobs()
    assert len(left_of(playground, pack_id)) == 2 * 9, "objects and their metadata files"
    job = erase_pack(playground.caller, pack_id, "the rights have ended")
    assert (job.kind, job.state) == (JobKind.ERASE, JobState.QUEUED)
    assert pack_calls.find_pack(playground.caller, id=pack_id) is None
    run_eraser(playground)
    assert rows_of(playground) == 0
    assert list(playground.site.originals.list("")) == [], "its earlier variants too"
    assert list(playground.site.uploads.list("")) == []
    assert [Path(path).parts[-3] for path in left_of(playground, pack_id)] == ["tombstones", "tombstones"]
    assert playground.job(job).state is JobState.RUNNING
    run_eraser(playground)
    assert playground.job(job).state is JobState.RUNNING, "the second pass comes when no late put can follow"
    finish(playground)
    job = playground.job(job)
    assert (job.state, job.total, job.done, job.skipped, job.failed) == (JobState.SUCCEEDED, 11, 11, 0, 0)
    assert "the rights have ended" in caplog.text


def test_the_purge_of_an_erasure_names_its_job_and_the_last_pass(playground: Playground) -> None:
    job = erase_pack(playground.caller, playground.pack(), "the rights have ended")
    finish(playground)
    causes = {purge.cause for purge in list_purges(playground.caller, first=100, after=None).items}
    assert f"job:{job.id}, pass 2" in causes


def test_what_a_late_worker_puts_is_erased_by_the_second_pass(playground: Playground) -> None:
    pack_id = playground.pack()
    targets = list(playground.planned(pack_id).values())
    real = playground.site.renderer.render

    def erase_meanwhile(*args: Any, **kwargs: Any) -> Any:
        rendered = real(*args, **kwargs)
        erase_pack(playground.caller, pack_id, "rights")
        run_eraser(playground)
        return rendered

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(playground.site.renderer, "render", erase_meanwhile)
        announce_and_render(playground.site, targets, Lane.BULK, planned=True)
    assert len(list(playground.site.variants.list(f"{TENANT}/{pack_id}/"))) == 3
    finish(playground)
    assert list(playground.site.variants.list("")) == []
    with pytest.raises(Gone):
        announce_and_render(playground.site, targets, Lane.ON_DEMAND, planned=False)
    assert rows_of(playground) == 0


def test_originals_that_other_packs_show_are_kept_and_counted(
    playground: Playground, caplog: pytest.LogCaptureFixture
) -> None:
    shared, own = jpeg(photo(60, 40)), jpeg(photo(50, 40))
    pack_id, other = playground.pack(picture=shared), playground.pack(picture=shared)
    playground.location("thumb", width=20)
    playground.show(pack_id, "thumb", own)
    playground.run_jobs()
    job = erase_pack(playground.caller, pack_id, "rights")
    finish(playground)
    digest = sha256(shared).hexdigest()
    assert list(playground.site.originals.list("")) == [f"{TENANT}/{digest}"]
    assert playground.job(job).state is JobState.SUCCEEDED
    assert playground.job(job).skipped == 1
    assert f"kept original {digest}" in caplog.text
    assert other in caplog.text
    assert all(playground.site.variants.head(key) for key in playground.planned(other))


def test_a_deleted_pack_can_be_erased_and_an_erased_or_unknown_one_not(playground: Playground) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    pack_calls.delete_pack(playground.caller, pack_id)
    for reason in ("", "   ", "x" * 501):
        with pytest.raises(Invalid):
            erase_pack(playground.caller, pack_id, reason)
    erase_pack(playground.caller, pack_id, "rights")
    finish(playground)
    assert list(playground.site.variants.list("")) == list(playground.site.originals.list("")) == []
    with pytest.raises(Gone):
        erase_pack(playground.caller, pack_id, "rights")
    with pytest.raises(NotFound, match="no such pack"):
        erase_pack(playground.caller, "0" * 24, "rights")
    assert list(playground.site.tombstones.list("")) == [f"{TENANT}/{pack_id}"]


def test_an_eraser_that_was_killed_anywhere_leaves_the_rest_to_the_next(playground: Playground) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    job = erase_pack(playground.caller, pack_id, "rights")
    steps = [
        (playground.site.variants, "erase"),
        (playground.site.originals, "erase"),
        (collection, "delete_original"),
        (erasures, "delete_variants"),
        (erasures, "end_pass"),
    ]
    for owner, name in steps:
        real = getattr(owner, name)

        def die(*args: Any, real: Any = real, **kwargs: Any) -> Any:
            real(*args, **kwargs)
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(owner, name, die)
            with pytest.raises(KeyboardInterrupt):
                playground.eraser.erase_next()
        assert not playground.eraser.erase_next(), "its lease is still held"
        let_pass(playground, erasures.LEASE_TIME + timedelta(seconds=1))
    finish(playground)
    assert playground.job(job).state is JobState.SUCCEEDED
    assert list(playground.site.variants.list("")) == list(playground.site.originals.list("")) == []


def test_an_outage_of_the_store_postpones_an_erasure(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    job = erase_pack(playground.caller, pack_id, "rights")

    def away(place: str) -> int:
        raise OSError("the store does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(playground.site.variants, "erase", away)
        run_eraser(playground)
    assert playground.job(job).state is JobState.RUNNING
    let_pass(playground, erasures.MAX_PAUSE)
    finish(playground)
    assert playground.job(job).state is JobState.SUCCEEDED
    assert list(playground.site.variants.list("")) == []


def test_an_upload_of_the_same_image_during_an_erasure_must_be_repeated(playground: Playground) -> None:
    data = jpeg(photo(60, 40))
    pack_id, other = playground.pack(picture=data), pack_calls.create_pack(playground.caller, {}).pack.id
    source = playground.site.incoming / "picture"
    source.write_bytes(data)
    keep_original(playground.site, TENANT, source, sha256=sha256(data).hexdigest(), size=len(data))
    erase_pack(playground.caller, pack_id, "rights")
    run_eraser(playground)
    assert list(playground.site.originals.list("")) == []
    playground.show(other, "main", data)
    finish(playground)
    playground.run_jobs()
    assert len(list(playground.site.originals.list(""))) == 1, "another pack has it now"
    assert all(playground.site.variants.head(key) for key in playground.planned(other))


def test_a_tombstone_without_its_transaction_is_carried_out(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    erase.set_tombstone(playground.site, TENANT, pack_id, reason="rights", by="tester")
    assert erase.replay_tombstones(playground.site) == 0, "its mutation may still be running"
    monkeypatch.setattr(erase, "SETTLED", timedelta(0))
    assert erase.replay_tombstones(playground.site) == 1
    assert erase.replay_tombstones(playground.site) == 0
    finish(playground)
    assert list(playground.site.variants.list("")) == list(playground.site.originals.list("")) == []


@pytest.mark.slow
def test_a_restored_backup_is_erased_again(tmp_path: Path, renderer: Renderer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erase, "SETTLED", timedelta(0))
    data, backup = tmp_path / "data", tmp_path / "backup"
    playground = Playground(data, renderer)
    pack_id, other = playground.pack(), playground.pack(picture=photo(30, 30))
    playground.run_jobs()
    backup.mkdir()
    for name in ("originals", "variants"):
        shutil.copytree(data / name, backup / name)
    with (
        closing(sqlite3.connect(data / "packshot.db")) as live,
        closing(sqlite3.connect(backup / "packshot.db")) as copy,
    ):
        live.backup(copy)
    erase_pack(playground.caller, pack_id, "rights")
    finish(playground)
    playground.site.catalog.close()
    for name in ("packshot.db", "packshot.db-wal", "packshot.db-shm"):
        (data / name).unlink(missing_ok=True)
    shutil.copy(backup / "packshot.db", data)
    for name in ("originals", "variants"):
        shutil.rmtree(data / name)
        shutil.copytree(backup / name, data / name)
    restored = Playground(data, renderer)
    try:
        assert pack_calls.find_pack(restored.caller, id=pack_id) == pack_id
        assert erase.replay_tombstones(restored.site) == 1
        finish(restored)
        assert pack_calls.find_pack(restored.caller, id=pack_id) is None
        assert list(restored.site.variants.list(f"{TENANT}/{pack_id}/")) == []
        assert len(list(restored.site.originals.list(""))) == 1
        assert all(restored.site.variants.head(key) for key in restored.planned(other))
        with restored.site.catalog.read(TENANT) as tx, pytest.raises(Gone):
            tombstones.refuse_erased(tx, [pack_id])
    finally:
        restored.site.catalog.close()


@pytest.mark.parametrize("body", [b"", b"[]", b'{"reason": 1}'])
def test_a_tombstone_that_cannot_be_read_still_erases(
    playground: Playground, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(erase, "SETTLED", timedelta(0))
    pack_id = playground.pack()
    playground.run_jobs()
    playground.site.tombstones.put(f"{TENANT}/{pack_id}", body, erase._METADATA)
    assert erase.replay_tombstones(playground.site) == 1
    finish(playground)
    assert list(playground.site.variants.list("")) == []


def test_on_s3_no_version_is_left_and_scrubbing_and_collecting_see_the_same(
    tmp_path: Path, renderer: Renderer, s3: Seaweed
) -> None:
    bucket = s3.new_bucket()
    client = boto3.session.Session().client("s3", endpoint_url=s3.endpoint_url, region_name="us-east-1")
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    playground = Playground(tmp_path / "data", renderer)
    stores: dict[str, Any] = {
        name: S3Store(bucket, prefix=f"{name}/", scratch=tmp_path, endpoint_url=s3.endpoint_url)
        for name in ("originals", "variants", "uploads", "tombstones")
    }
    playground.use(replace(playground.site, **stores))
    try:
        pack_id, other = playground.pack(picture=photo(60, 40)), playground.pack(picture=photo(30, 40))
        playground.run_jobs()
        playground.site.variants.delete(next(iter(playground.planned(other))))
        found = scrub(playground.site, TENANT, deep=True, repair=True)
        assert (found.variants, found.missing, found.wrong, found.orphans, found.lost) == (6, 1, 0, 0, [])
        playground.run_jobs()
        assert scrub(playground.site, TENANT, deep=True, repair=False).found == 0
        before = set(playground.planned(other))
        pack_calls.set_crop(playground.caller, other, "main", Crop(0, 0, 1, 0.5))
        playground.run_jobs()
        pass_days(playground, 31)
        assert collect_all(playground.site, TENANT).variants == 3
        assert not before & set(playground.site.variants.list(""))
        erase_pack(playground.caller, pack_id, "rights")
        finish(playground)
        listed = client.list_object_versions(Bucket=bucket)
        versions = [*listed.get("Versions", ()), *listed.get("DeleteMarkers", ())]
        assert [item["Key"] for item in versions if pack_id in item["Key"]] == [f"tombstones/{TENANT}/{pack_id}"]
        assert len([item for item in versions if item["Key"].startswith("originals/")]) == 1
        assert all(playground.site.variants.head(key) for key in playground.planned(other))
    finally:
        playground.site.catalog.close()
