"""CloudFront gets one invalidation for each batch, its limits are respected, and it removes what is purged."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from packshot.catalog.purging import purge_batches
from packshot.catalog.purging.purges import PurgeState
from packshot.cdn.base import REPEAT_AFTER, ProviderBusy
from packshot.cdn.cloudfront import CloudFrontPurger
from packshot.errors import Invalid
from packshot.settings.settings import Settings
from packshot.site import open_purger
from pregen.services.purger import Purger
from resolvers import packs
from tests.pregen.services.test_purger import Front, RecordingPurger
from tests.servers.cloudfront import MOST_FILES, MOST_WILDCARDS, CloudFront, running
from tests.support.playground import TENANT, Playground

PACK = "0123456789abcdef01234567"


@pytest.fixture
def cloudfront(monkeypatch: pytest.MonkeyPatch) -> Iterator[CloudFront]:
    for name, value in {"ACCESS_KEY_ID": "AKIDTEST", "SECRET_ACCESS_KEY": "test", "CONFIG_FILE": "/dev/null"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with running() as cloudfront:
        yield cloudfront


def purger_of(cloudfront: CloudFront, *, by_tags: bool = True, **options: Any) -> CloudFrontPurger:
    return CloudFrontPurger(cloudfront.distribution, by_tags=by_tags, endpoint_url=cloudfront.url, **options)


class AtCloudFront(Front):
    """A playground behind a distribution."""

    def __init__(self, playground: Playground, purger: CloudFrontPurger) -> None:
        super().__init__(playground, RecordingPurger())
        self.carrier = Purger(replace(playground.site, purger=purger))


def test_a_purge_is_one_invalidation_and_complete_when_cloudfront_reports_it(cloudfront: CloudFront) -> None:
    cloudfront.copies = {"/a": {f"p:{TENANT}:{PACK}"}, "/b": {f"l:{TENANT}:thumb"}, "/c": {f"p:{TENANT}:x"}}
    purger = purger_of(cloudfront)
    cloudfront.asks = None
    taken = purger.purge([f"p:{TENANT}:{PACK}", f"l:{TENANT}:thumb"], reference="1", erasing=False)
    assert cloudfront.items == [(f"#p:{TENANT}:{PACK}", f"#l:{TENANT}:thumb")]
    assert not purger.is_complete(taken)
    cloudfront.finish()
    assert purger.is_complete(taken)
    assert set(cloudfront.copies) == {"/c"}


def test_responses_of_application_and_bucket_carry_the_same_tags(cloudfront: CloudFront) -> None:
    tags = [f"t:{TENANT}", f"p:{TENANT}:{PACK}"]
    assert purger_of(cloudfront).headers(tags) == {"x-amz-meta-tags": f"t:{TENANT},p:{TENANT}:{PACK}"}
    assert purger_of(cloudfront, by_tags=False).headers(tags) == {}


def test_the_same_reference_is_the_same_invalidation(cloudfront: CloudFront) -> None:
    purger = purger_of(cloudfront)
    first = purger.purge(["t:a"], reference="1", erasing=False)
    assert purger.purge(["t:a"], reference="1", erasing=False) == first
    assert len(cloudfront.invalidations) == 1
    assert purger.purge(["t:a"], reference="2", erasing=False) != first
    with pytest.raises(Invalid, match="refuses"):
        purger.purge(["t:b"], reference="1", erasing=False)


def test_a_distribution_without_tags_is_purged_by_paths(cloudfront: CloudFront) -> None:
    cloudfront.tag_header = None
    gone = [f"/img/api/v2/img/{PACK}", f"/img/api/v2/img/{PACK}-1?width=5", f"/img/api/v2/img/{TENANT}/{PACK}"]
    kept = [f"/img/api/v2/img/{'f' * 24}", f"/img/i/{TENANT}/{PACK}/main/0/x.jpg"]
    cloudfront.copies = {path: set() for path in [*gone, *kept]}
    purger = purger_of(cloudfront, by_tags=False, prefix="/img")
    assert not purger.by_tags
    purger.is_complete(purger.purge([f"p:{TENANT}:{PACK}"], reference="1", erasing=False))
    assert set(cloudfront.copies) == set(kept), "immutable URLs are never stale"
    purger.is_complete(purger.purge([f"l:{TENANT}:thumb"], reference="2", erasing=False))
    assert set(cloudfront.copies) == {kept[1]}, "the paths of stable URLs do not show which of them use the location"


@pytest.mark.parametrize("packs", [7, 8, 100])
def test_the_wildcards_for_any_number_of_packs_fit(cloudfront: CloudFront, packs: int) -> None:
    cloudfront.tag_header = None
    ids = [f"{number:024x}" for number in range(packs)]
    paths = [path for id in ids for path in (f"/api/v2/img/{id}", f"/i/{TENANT}/{id}/x.jpg")]
    cloudfront.copies = {path: set() for path in paths}
    tags = [f"{kind}:{TENANT}:{id}" for id in ids for kind in "pe"]
    purger = purger_of(cloudfront, by_tags=False)
    purger.is_complete(purger.purge(tags, reference="1", erasing=False))
    (items,) = cloudfront.items
    assert len(items) <= MOST_WILDCARDS
    assert cloudfront.copies == {}


def test_an_erasure_does_not_rely_on_tags(cloudfront: CloudFront) -> None:
    tagged = {f"p:{TENANT}:{PACK}", f"e:{TENANT}:{PACK}"}
    cloudfront.copies = {
        f"/i/{TENANT}/{PACK}/main/0/old.jpg": set(),
        f"/api/v2/img/{PACK}?width=3": set(),
        "/somewhere/else": tagged,
        f"/i/{TENANT}/{'f' * 24}/main/0/x.jpg": set(),
    }
    purger = purger_of(cloudfront)
    purger.is_complete(purger.purge(sorted(tagged), reference="1", erasing=True))
    assert set(cloudfront.copies) == {f"/i/{TENANT}/{'f' * 24}/main/0/x.jpg"}


@pytest.mark.parametrize("limit", ["files", "wildcards"])
def test_a_purge_beyond_the_limit_waits(cloudfront: CloudFront, limit: str) -> None:
    cloudfront.asks = None
    purger = purger_of(cloudfront, by_tags=limit == "files")
    if limit == "files":
        for number in range(MOST_FILES // purger.most_tags):
            tags = [f"p:{TENANT}:{number}-{tag}" for tag in range(purger.most_tags)]
            purger.purge(tags, reference=f"{number}", erasing=False)
    else:
        for number in range(MOST_WILDCARDS // 2):
            purger.purge([f"p:{TENANT}:{number:024x}"], reference=f"{number}", erasing=False)
    before = len(cloudfront.invalidations)
    for _ in range(2):
        with pytest.raises(ProviderBusy, match="too many invalidations in progress"):
            purger.purge([f"p:{TENANT}:{PACK}"], reference="more", erasing=False)
    assert len(cloudfront.invalidations) == before
    cloudfront.finish()
    purger.purge([f"p:{TENANT}:{PACK}"], reference="more", erasing=False)


def test_a_purge_is_invalidated_twice_even_if_a_response_is_lost(
    cloudfront: CloudFront, playground: Playground
) -> None:
    front = AtCloudFront(playground, purger_of(cloudfront))
    pack_id = playground.pack()
    cloudfront.dropped = 2
    front.carry()
    assert front.row().state is PurgeState.RUNNING
    assert "CloudFront does not answer" in (front.row().error or "")
    front.let_pass(timedelta(seconds=2))
    front.carry()
    assert (front.row().provider_id, front.row().error) == ("I1", None)
    front.let_pass(REPEAT_AFTER)
    front.carry()
    front.let_pass(purge_batches.LOOK_AGAIN)
    front.carry()
    assert front.row().state is PurgeState.SUCCEEDED
    assert cloudfront.items == [(f"#p:{TENANT}:{pack_id}",)] * 2


def test_an_import_beyond_the_limits_is_purged_eventually(cloudfront: CloudFront, playground: Playground) -> None:
    cloudfront.tag_header, cloudfront.asks = None, None
    front = AtCloudFront(playground, purger_of(cloudfront, by_tags=False))
    ids = [playground.pack() for _ in range(3)]
    held = purger_of(cloudfront, by_tags=False)
    for number in range(MOST_WILDCARDS // 2):
        held.purge([f"p:{TENANT}:{number:024x}"], reference=f"{number}", erasing=False)
    cloudfront.copies = {f"/api/v2/img/{id}?location=main": set() for id in ids}
    front.carry()
    assert {row.state for row in front.rows()} == {PurgeState.RUNNING}
    assert all((row.error or "").startswith("ProviderBusy: CloudFront: There are too many") for row in front.rows())
    cloudfront.asks = 1
    cloudfront.finish()
    front.let_pass(purge_batches.ROOM_AFTER)
    front.settle()
    assert cloudfront.copies == {}


def test_an_erased_pack_leaves_every_cache(cloudfront: CloudFront, playground: Playground) -> None:
    front = AtCloudFront(playground, purger_of(cloudfront))
    gone, kept = playground.pack(), playground.pack()
    playground.run_jobs()
    for id in (gone, kept):
        for key in playground.planned(id):
            stored = playground.site.variants.head(key)
            assert stored is not None
            cloudfront.copies[f"/i/{key}"] = set(stored.metadata.tags)
        cloudfront.copies[f"/api/v2/img/{id}?location=main"] = set(playground.target(id, "location=main").tags)
    front.settle()
    for path in list(cloudfront.copies):
        if path.startswith("/api"):
            del cloudfront.copies[path]
    assert len({path.split("/")[3] for path in cloudfront.copies}) == 2, "edits leave immutable URLs alone"
    packs.erase_pack(playground.caller, gone, "the credentials are no longer valid")
    front.carry()
    assert {path.split("/")[3] for path in cloudfront.copies} == {kept}


def test_the_check_reports_a_fault_and_its_correction(cloudfront: CloudFront, monkeypatch: pytest.MonkeyPatch) -> None:
    assert purger_of(cloudfront).check() == "CloudFront, purged by tags"
    cloudfront.tag_header = None
    assert purger_of(cloudfront, by_tags=False).check() == "CloudFront, purged by paths"
    with pytest.raises(OSError, match="CacheTagConfig is not set: set it to x-amz-meta-tags, or PACKSHOT_CLOUDFRONT"):
        purger_of(cloudfront).check()
    cloudfront.enabled = False
    with pytest.raises(OSError, match="is disabled: enable it"):
        purger_of(cloudfront).check()
    other = CloudFrontPurger("E2", by_tags=True, endpoint_url=cloudfront.url)
    with pytest.raises(OSError, match="correct PACKSHOT_CLOUDFRONT_DISTRIBUTION"):
        other.check()
    with running() as gone:
        pass
    with pytest.raises(OSError, match="CloudFront does not answer"):
        purger_of(gone).check()
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(f"AWS_{name}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    with pytest.raises(OSError, match="Unable to locate credentials"):
        purger_of(cloudfront).check()


def test_many_erased_packs_need_few_wildcards(cloudfront: CloudFront) -> None:
    ids = [f"{number:024x}" for number in range(20)]
    cloudfront.copies = {f"/i/{TENANT}/{id}/main/0/x.jpg": set() for id in ids}
    cloudfront.copies |= {f"/api/v2/img/{id}": set() for id in ids}
    cloudfront.copies["/i/other/x.jpg"] = set()
    purger = purger_of(cloudfront)
    tags = [f"{kind}:{TENANT}:{id}" for id in ids for kind in "pe"]
    purger.is_complete(purger.purge(tags, reference="1", erasing=True))
    assert set(cloudfront.copies) == {"/i/other/x.jpg"}


def test_an_edit_purges_live_urls_by_path(cloudfront: CloudFront) -> None:
    settings = Settings(
        cdn="cloudfront",
        cloudfront_distribution=cloudfront.distribution,
        cloudfront_purge_by="paths",
        public_url="https://cdn.example/img",
        live_prefix="/old",
    )
    purger = open_purger(settings)
    assert isinstance(purger, CloudFrontPurger)
    purger._endpoint_url = cloudfront.url
    cloudfront.copies = {
        path: set() for path in ("/img/old/film_10_10.jpg", "/img/i/x/y.jpg", f"/img/api/v2/img/{PACK}")
    }
    purger.purge([f"p:{TENANT}:{PACK}"], reference="1", erasing=False)
    cloudfront.finish()
    assert set(cloudfront.copies) == {"/img/i/x/y.jpg"}
