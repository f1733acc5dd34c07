"""Objects that clients put into a bucket: they are read completely or not at all, and within their limit."""

import secrets
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import httpx2 as httpx
import pytest
from botocore.credentials import Credentials

from packshot.storage import s3_client
from packshot.storage.base import NoSuchObject, TooManyBytes
from packshot.storage.s3 import S3Store
from packshot.storage.s3_direct import S3DirectAccess
from tests.servers.faults import Proxy, Reset, Truncate, faulty_proxy
from tests.servers.seaweed import Seaweed

BODY = bytes(range(256)) * 10_000


@pytest.fixture
def proxy(s3: Seaweed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setattr(s3_client, "FIRST_PAUSE", 0.02)
    with faulty_proxy(s3.endpoint_url) as proxy:
        proxy.credentials = Credentials(s3.access_key, s3.secret_key)
        yield proxy


@pytest.fixture
def direct(s3: Seaweed, bucket: str, proxy: Proxy) -> S3DirectAccess:
    """Reads through the proxy; its clients use the store's own address."""
    return S3Store(
        bucket, prefix=secrets.token_hex(6), endpoint_url=proxy.endpoint_url, public_endpoint_url=s3.endpoint_url
    ).direct


@pytest.fixture
def put(direct: S3DirectAccess) -> Callable[[str, bytes], None]:
    def put(key: str, data: bytes) -> None:
        ticket = direct.sign_put(key, content_type="image/jpeg", size=len(data), seconds=60)
        assert httpx.put(ticket.url, content=data, headers=dict(ticket.headers)).status_code == 200

    return put


def test_a_clients_object_is_read_with_its_digest(
    direct: S3DirectAccess, put: Callable[[str, bytes], None], tmp_path: Path
) -> None:
    put("a/b", BODY)
    assert direct.receive("a/b", tmp_path / "f", max_bytes=len(BODY)) == (len(BODY), sha256(BODY).hexdigest())
    assert (tmp_path / "f").read_bytes() == BODY


def test_clients_get_the_public_address(direct: S3DirectAccess, s3: Seaweed) -> None:
    ticket = direct.sign_post("a/b", content_type="image/jpeg", most=10, seconds=60)
    assert ticket.url.startswith(s3.endpoint_url)
    assert direct.sign_get("a/b", seconds=60, headers={}).startswith(s3.endpoint_url)


@pytest.mark.parametrize("fault", [Truncate(1000), Reset()])
def test_an_interrupted_body_is_read_again(
    direct: S3DirectAccess, put: Callable[[str, bytes], None], proxy: Proxy, tmp_path: Path, fault: Truncate | Reset
) -> None:
    put("a/b", BODY)
    proxy.plan(fault)
    assert direct.receive("a/b", tmp_path / "f", max_bytes=len(BODY))[0] == len(BODY)
    assert (tmp_path / "f").read_bytes() == BODY


def test_bytes_beyond_the_limit_are_not_read(
    direct: S3DirectAccess, put: Callable[[str, bytes], None], tmp_path: Path
) -> None:
    put("a/b", BODY)
    with pytest.raises(TooManyBytes):
        direct.receive("a/b", tmp_path / "f", max_bytes=len(BODY) - 1)
    assert not (tmp_path / "f").exists()


def test_a_missing_object_is_reported(direct: S3DirectAccess, tmp_path: Path) -> None:
    with pytest.raises(NoSuchObject):
        direct.receive("a/none", tmp_path / "f", max_bytes=1)
