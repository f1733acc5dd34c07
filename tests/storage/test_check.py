"""The check of a store finds its faults."""

import errno
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.credentials import Credentials

from packshot.storage.base import ObjectStore, Stored
from packshot.storage.check import check_store
from packshot.storage.folder import FolderStore
from packshot.storage.s3 import S3Store
from tests.servers.faults import Answer, Proxy, faulty_proxy
from tests.servers.seaweed import Seaweed


@pytest.fixture
def proxy(s3: Seaweed) -> Iterator[Proxy]:
    with faulty_proxy(s3.endpoint_url) as proxy:
        proxy.credentials = Credentials(s3.access_key, s3.secret_key)
        yield proxy


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return FolderStore(tmp_path / "objects")
    server: Seaweed = request.getfixturevalue("s3")
    return S3Store(request.getfixturevalue("bucket"), prefix=secrets.token_hex(6), endpoint_url=server.endpoint_url)


def test_a_good_store_has_no_fault_and_nothing_is_left(store: ObjectStore) -> None:
    assert check_store(store) == []
    assert list(store.list("")) == []


def test_a_store_that_ignores_conditions_is_reported(bucket: str, proxy: Proxy) -> None:
    proxy.drops_conditions = True
    store = S3Store(bucket, prefix=secrets.token_hex(6), endpoint_url=proxy.endpoint_url)
    (fault,) = check_store(store)
    assert "ignores If-None-Match" in fault
    assert list(store.list("")) == []


def test_a_store_that_refuses_conditions_is_reported(bucket: str, proxy: Proxy) -> None:
    proxy.plan(None, None, Answer(501, "NotImplemented"))
    (fault,) = check_store(S3Store(bucket, prefix=secrets.token_hex(6), endpoint_url=proxy.endpoint_url))
    assert "conditional writes" in fault


def test_a_fault_of_the_settings_is_reported_once(s3: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    (fault,) = check_store(S3Store("packshot-nowhere", endpoint_url=s3.endpoint_url))
    assert "the bucket does not exist" in fault
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.denied_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.denied_secret)
    (fault,) = check_store(S3Store(s3.new_bucket(), endpoint_url=s3.endpoint_url))
    assert "s3:ListBucket" in fault


def test_a_store_that_is_down_is_not_a_fault_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "packshot")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not checked, because no server listens")
    with pytest.raises(OSError, match="cannot be reached") as away:
        check_store(S3Store("packshot", endpoint_url="http://127.0.0.1:1", patience_seconds=1))
    assert away.value.errno == errno.EIO


class _Broken(FolderStore):
    """A folder store with one fault."""

    def __init__(self, root: Path, how: str) -> None:
        super().__init__(root)
        self.how = how

    def get(self, key: str) -> tuple[bytes, Stored]:
        body, stored = super().get(key)
        return (b"other" if self.how == "bytes" else body), stored

    def list(self, prefix: str) -> Iterator[str]:
        return iter(()) if self.how == "list" else super().list(prefix)

    def delete(self, key: str) -> None:
        if self.how != "delete":
            super().delete(key)


@pytest.mark.parametrize(
    ("how", "said"), [("bytes", "other bytes"), ("list", "not list"), ("delete", "keeps a deleted")]
)
def test_each_fault_has_its_sentence(tmp_path: Path, how: str, said: str) -> None:
    (fault,) = check_store(_Broken(tmp_path / "objects", how))
    assert said in fault


def test_a_folder_that_cannot_be_written_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(tmp_path / "objects")

    def no_space(*_: object) -> Callable[..., None]:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    (fault,) = check_store(store)
    assert "No space left" in fault
