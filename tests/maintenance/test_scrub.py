"""Scrubbing finds every difference between store and ledger, and repairs it where possible."""

import os
from collections.abc import Callable
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from PIL import Image

from packshot.catalog.tables.artwork import originals, variants
from packshot.catalog.variants import reconciliation
from packshot.catalog.variants.ledger import VariantState
from packshot.catalog.work.jobs import JobKind, JobState
from packshot.errors import ErrorCode
from packshot.geometry import Crop
from packshot.maintenance import scrub as scrubbing
from packshot.maintenance.scrub import Fault, ScrubResult, scrub
from packshot.production import announce_and_render
from packshot.render.processes.pool import Lane
from packshot.storage.base import Metadata
from packshot.storage.sidecar import sidecar_path
from resolvers import locations, maintenance, packs
from resolvers.changing.decision import Consent
from resolvers.jobs import list_failures
from tests.support.pictures import dim_black, jpeg, photo, tiff
from tests.support.playground import TENANT, Playground


def look(playground: Playground, *, deep: bool = False) -> ScrubResult:
    return scrub(playground.site, TENANT, deep=deep, repair=False)


def repair(playground: Playground, *, deep: bool = False) -> ScrubResult:
    return scrub(playground.site, TENANT, deep=deep, repair=True)


def body(playground: Playground, key: str) -> Path:
    path = playground.site.variants.local_path(key)
    assert path is not None
    return path


def assert_right(playground: Playground, *pack_ids: str) -> None:
    playground.run_jobs()
    for pack_id in pack_ids:
        for key in playground.planned(pack_id):
            data, _ = playground.site.variants.get(key)
            entry = playground.entries(pack_id)[key]
            assert (entry.state, entry.sha256) == (VariantState.READY, sha256(data).hexdigest())
    again = look(playground, deep=True)
    assert (again.found, again.lost) == (0, [])


def test_a_sound_store_yields_no_finding_and_no_change(playground: Playground) -> None:
    playground.location("thumb", width=16, height=9)
    ids = [playground.pack(picture=photo(60, 40 + number)) for number in range(3)]
    playground.run_jobs()
    before = {pack_id: playground.entries(pack_id) for pack_id in ids}
    expected = ScrubResult(variants=27, originals=3)
    assert look(playground) == look(playground, deep=True) == repair(playground, deep=True) == expected
    assert {pack_id: playground.entries(pack_id) for pack_id in ids} == before


def test_a_missing_variant_is_rendered_again(playground: Playground) -> None:
    ids = [playground.pack(picture=photo(60, 40 + number)) for number in range(3)]
    playground.run_jobs()
    for pack_id in ids[:2]:
        for key in list(playground.planned(pack_id))[:2]:
            playground.site.variants.delete(key)
    assert look(playground).missing == 4
    found = repair(playground)
    assert (found.missing, found.ordered) == (4, 2)
    assert_right(playground, *ids)


def test_a_pack_with_many_findings_is_ordered_and_counted_once(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [playground.pack(picture=photo(60, 40 + number)) for number in range(3)]
    playground.run_jobs()
    for pack_id in ids:
        for key in playground.planned(pack_id):
            playground.site.variants.delete(key)
    read = reconciliation.read_ledger_rows

    def mixed(*args: Any) -> dict[str, Any]:
        rows = read(*args)
        return dict(sorted(rows.items(), key=lambda entry: entry[0].rpartition("/")[2]))

    monkeypatch.setattr(reconciliation, "read_ledger_rows", mixed)
    assert repair(playground).ordered == 3


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def forget_sidecar(path: Path) -> None:
    os.unlink(sidecar_path(path))


@pytest.mark.parametrize(("damage", "deep"), [(truncate, False), (flip, True), (forget_sidecar, False)])
def test_a_damaged_variant_is_rendered_again(
    playground: Playground, damage: Callable[[Path], None], deep: bool
) -> None:
    pack_id = playground.pack(picture=photo(60, 40))
    playground.run_jobs()
    key = next(iter(playground.planned(pack_id)))
    damage(body(playground, key))
    if deep:
        assert look(playground).found == 0, "only the bytes tell"
    assert look(playground, deep=deep).wrong == 1
    assert repair(playground, deep=deep).wrong == 1
    assert_right(playground, pack_id)


def test_an_object_that_differs_from_the_ledger_is_damaged(playground: Playground) -> None:
    pack_id = playground.pack(picture=photo(60, 40))
    playground.run_jobs()
    key = next(iter(playground.planned(pack_id)))
    playground.site.variants.delete(key)
    playground.site.variants.put(key, b"something else", Metadata("image/avif", None, ()))
    assert repair(playground).wrong == 1
    assert_right(playground, pack_id)


def test_missing_superseded_and_unplanned_variants_lose_their_rows(playground: Playground) -> None:
    pack_id = playground.pack(picture=photo(60, 40))
    playground.run_jobs()
    old = next(iter(playground.planned(pack_id)))
    packs.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 1, 0.5))
    playground.run_jobs()
    target = playground.target(pack_id, "width=9")
    announce_and_render(playground.site, [target], Lane.ON_DEMAND, planned=False)
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(variants).values(state="ready", sha256=variants.c.sha256))
    for key in (old, str(target.key)):
        playground.site.variants.delete(key)
    found = repair(playground)
    assert (found.missing, found.ordered) == (2, 0)
    assert not {old, str(target.key)} & set(playground.entries(pack_id))
    assert_right(playground, pack_id)


def test_a_missing_variant_of_a_pending_change_is_rendered_again(playground: Playground) -> None:
    playground.location("thumb", width=16, height=9)
    pack_id = playground.pack(picture=photo(60, 40))
    playground.run_jobs()
    live = set(playground.planned(pack_id))
    changed = locations.put_location(playground.caller, "thumb", {"width": 20}, Consent(force=True))
    assert changed.job is not None
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pregen.services.dispatcher.activate_if_ready", lambda *_: None)
        playground.run_jobs()
        prepared = playground.entries(pack_id).keys() - live
        assert prepared
        for key in prepared:
            playground.site.variants.delete(key)
        assert (repair(playground).missing, repair(playground).missing) == (len(prepared), 0)
        playground.run_jobs()
        assert all(playground.site.variants.head(key) is not None for key in prepared)
    playground.run_jobs()
    assert playground.job(changed.job).state is JobState.SUCCEEDED
    assert_right(playground, pack_id)


def test_old_objects_without_a_row_are_deleted(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    pack_id = playground.pack(picture=photo(60, 40))
    playground.run_jobs()
    known = next(iter(playground.planned(pack_id)))
    orphans = [
        known.replace(pack_id, "0" * 24),
        known.replace(pack_id, "f" * 24),
        known.replace("/main/", "/absent/"),
        f"{TENANT}/{pack_id}/no-key-of-ours",
        f"{TENANT}/stray/file",
    ]
    for key in orphans:
        playground.site.variants.put(key, b"bytes", Metadata("image/avif", None, ()))
    assert repair(playground).orphans == 0, "they may be about to be recorded"
    monkeypatch.setattr(scrubbing, "MIN_AGE", timedelta(0))
    assert look(playground).orphans == 5
    assert all(playground.site.variants.head(key) for key in orphans)
    assert repair(playground).orphans == 5
    assert set(playground.site.variants.list("")) == set(playground.planned(pack_id))
    assert_right(playground, pack_id)


def test_a_variant_that_is_stored_during_the_scrub_stays(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_id = playground.pack(picture=photo(60, 40))
    monkeypatch.setattr(scrubbing, "MIN_AGE", timedelta(0))
    real = reconciliation.read_ledger_rows

    def render_after(*args: Any) -> Any:
        rows = real(*args)
        playground.run_jobs()
        return rows

    monkeypatch.setattr(reconciliation, "read_ledger_rows", render_after)
    playground.site.variants.put(f"{TENANT}/{pack_id}/x", b"", Metadata("image/avif", None, ()))
    repair(playground)
    monkeypatch.undo()
    assert_right(playground, pack_id)


@pytest.mark.parametrize("fault", list(Fault))
def test_a_lost_original_is_reported_with_the_packs_that_show_it(playground: Playground, fault: Fault) -> None:
    data = jpeg(photo(60, 40))
    first, second = sorted([playground.pack(picture=data), playground.pack(picture=data)])
    playground.pack(picture=photo(30, 30))
    playground.run_jobs()
    path = playground.site.originals.local_path(f"{TENANT}/{sha256(data).hexdigest()}")
    assert path is not None
    if fault is Fault.MISSING:
        playground.site.originals.delete(f"{TENANT}/{path.name}")
    else:
        flip(path)
    result, job = maintenance.scrub_tenant(playground.caller, deep=True, seen=lambda _: None)
    (lost,) = result.lost
    assert (lost.sha256, lost.fault, lost.places) == (path.name, fault, [(first, "main"), (second, "main")])
    assert (job.kind, job.state, job.failed, job.skipped) == (JobKind.SCRUB, JobState.PARTIAL, 2, 10)
    failures = list_failures(playground.caller, job.id, first=5, after=None).items
    assert [(failure.pack_id, failure.code) for failure in failures] == [
        (first, ErrorCode.UNRENDERABLE),
        (second, ErrorCode.UNRENDERABLE),
    ]
    playground.show(first, "main", data)
    assert look(playground, deep=True).lost == []


def test_an_outage_of_the_store_ends_the_scrub_without_findings(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_id = playground.pack(picture=photo(60, 40))
    playground.run_jobs()

    def away(key: str) -> Any:
        raise OSError("the store is away")

    with monkeypatch.context() as patched:
        patched.setattr(playground.site.variants, "head", away)
        with pytest.raises(OSError, match="away"):
            repair(playground)
    assert_right(playground, pack_id)


def test_bytes_of_originals_without_a_row_are_counted_and_kept(playground: Playground) -> None:
    playground.pack(picture=photo(60, 40))
    playground.run_jobs()
    key = f"{TENANT}/{'0' * 64}"
    playground.site.originals.put(key, b"of a backup that is older than they are", Metadata("image/jpeg", None, ()))
    assert repair(playground).unknown_originals == 1
    assert playground.site.originals.head(key) is not None


def test_all_packs_are_checked_beyond_one_portion(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrubbing, "PACKS_AT_ONCE", 2)
    monkeypatch.setattr(reconciliation, "PORTION", 3)
    ids = sorted(playground.pack(picture=photo(20, 20 + number)) for number in range(7))
    playground.run_jobs()
    for pack_id in (ids[0], ids[3], ids[6]):
        for key in playground.planned(pack_id):
            playground.site.variants.delete(key)
    seen: list[int] = []
    result = scrub(
        playground.site, TENANT, deep=False, repair=True, on_progress=lambda so_far: seen.append(so_far.variants)
    )
    assert (result.variants, result.originals, result.missing) == (21, 7, 9)
    assert seen == sorted(seen)
    assert_right(playground, *ids)


def test_an_original_that_decodes_differently_now_is_rendered_under_new_keys(
    playground: Playground,
) -> None:
    picture = tiff(Image.new("CMYK", (60, 40), (255,) * 4), icc_profile=dim_black())
    moved, same = playground.pack(picture=picture), playground.pack(picture=photo(60, 40))
    playground.run_jobs()
    current = {pack_id: playground.planned(pack_id) for pack_id in (moved, same)}
    with playground.site.catalog.write(TENANT) as tx:
        # As an earlier release left them.
        tx.connection.execute(originals.update().values(decode_revision=None))
    before = playground.planned(moved)
    assert not set(before) & set(current[moved])
    assert repair(playground).moved == 0
    found = repair(playground, deep=True)
    assert (found.moved, found.ordered) == (1, 1)
    assert playground.planned(moved) == current[moved]
    assert playground.planned(same) == current[same]
    assert_right(playground, moved, same)
    assert repair(playground, deep=True).moved == 0
