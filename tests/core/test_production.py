"""Variants whose keys hold foreign objects in the store."""

from dataclasses import replace

import pytest

from packshot.catalog.variants.ledger import VariantState
from packshot.production import find_variant
from packshot.storage.base import Metadata
from packshot.storage.s3 import S3Store
from pregen.refreshing.refresh import refresh_packs
from tests.servers.seaweed import Seaweed
from tests.storage.test_s3 import raw_client
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground


@pytest.fixture
def database_url() -> None:
    """One database is enough, because the test is about the store."""


def test_a_foreign_object_under_a_key_is_replaced(playground: Playground, s3: Seaweed, bucket: str) -> None:
    site = replace(playground.site, variants=S3Store(bucket, prefix="foreign", endpoint_url=s3.endpoint_url))
    pack_id = playground.pack(picture=photo(40, 30))
    taken = next(iter(playground.planned(pack_id)))
    raw_client(s3).put_object(Bucket=bucket, Key=f"foreign/{taken}", Body=b"something else")
    refresh_packs(site, TENANT, [pack_id])
    assert find_variant(site, taken) is None, "postponed, and the key is free again"
    refresh_packs(site, TENANT, [pack_id])
    assert {entry.state for entry in playground.entries(pack_id).values()} == {VariantState.READY}
    stored = find_variant(site, taken)
    assert stored is not None
    assert stored.metadata == Metadata(
        stored.metadata.content_type, stored.metadata.cache_control, (f"e:{TENANT}:{pack_id}",)
    )
