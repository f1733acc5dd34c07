"""`packshot doctor` sends an upload as clients do, and names a method that works if the store refuses it."""

from collections.abc import Iterator
from typing import Any

import pytest

from packshot.settings.settings import Settings
from packshot.site import open_stores
from packshot.storage.write_check import FOLDER
from serve.commands.doctor import examine
from serve.health.findings import Finding, Status
from serve.health.upload_check import check_uploads
from tests.servers.faults import Answer, Proxy, faulty_proxy
from tests.servers.ports import free_port
from tests.servers.seaweed import Seaweed
from tests.support.playground import Playground


@pytest.fixture
def database_url() -> None:
    """SQLite only: these tests are about the store."""


@pytest.fixture
def proxy(s3: Seaweed) -> Iterator[Proxy]:
    """The store at the address that clients use."""
    with faulty_proxy(s3.endpoint_url) as proxy:
        yield proxy


def settings_of(playground: Playground, s3: Seaweed, bucket: str, **changed: str) -> Settings:
    in_bucket: dict[str, Any] = {
        "s3_bucket_originals": bucket,
        "s3_bucket_variants": bucket,
        "s3_endpoint_url": s3.endpoint_url,
    }
    return Settings(**playground.settings.model_dump() | in_bucket | changed)


def refuse(proxy: Proxy, *refused: str) -> None:
    """Make the store refuse these methods, as Cloudflare R2 refuses forms."""
    proxy.always = lambda: Answer(501, "NotImplemented") if proxy.seen[-1].split()[0] in refused else None


@pytest.mark.parametrize("method", ["presigned_post", "presigned_put"])
def test_a_store_that_takes_uploads_is_well_and_keeps_none_of_them(
    playground: Playground, s3: Seaweed, bucket: str, method: str
) -> None:
    settings = settings_of(playground, s3, bucket, upload_method=method)
    found = check_uploads(settings)
    assert (found.status, found.detail) == (Status.OK, f"{method}: the store accepts uploads")
    assert list(open_stores(settings)["uploads"].list(f"{FOLDER}/")) == []


@pytest.mark.parametrize(
    ("method", "refused", "named"),
    [
        ("presigned_post", ["POST"], "presigned_put"),
        ("presigned_put", ["PUT"], "presigned_post"),
        ("presigned_post", ["POST", "PUT"], "one_time_token"),
    ],
)
def test_a_store_without_the_method_is_a_failure_that_names_the_setting(
    playground: Playground, s3: Seaweed, bucket: str, proxy: Proxy, method: str, refused: list[str], named: str
) -> None:
    refuse(proxy, *refused)
    settings = settings_of(playground, s3, bucket, upload_method=method, s3_public_endpoint_url=proxy.endpoint_url)
    found = check_uploads(settings)
    assert found.status is Status.FAILING
    assert f"set PACKSHOT_UPLOAD_METHOD={named} (the store answers 501)" in str(found.problems[0])
    changed = Settings(**settings.model_dump() | {"upload_method": named})
    assert check_uploads(changed).status is Status.OK


def test_an_unreachable_store_is_a_warning(playground: Playground, s3: Seaweed, bucket: str) -> None:
    public = f"http://127.0.0.1:{free_port()}"
    found = check_uploads(settings_of(playground, s3, bucket, s3_public_endpoint_url=public))
    assert found.status is Status.DEGRADED
    assert "correct PACKSHOT_S3_PUBLIC_ENDPOINT_URL" in str(found.problems[0])


def test_without_a_bucket_there_is_nothing_to_try(playground: Playground) -> None:
    findings: dict[str, Finding] = {finding.part: finding for finding in examine(playground.settings)}
    assert (findings["uploads"].status, findings["uploads"].detail) == (
        Status.OK,
        "to the application, as there is no bucket",
    )
