"""The S3 store on a real server: the contract, and faults of the network."""

import errno
import hashlib
import logging
import multiprocessing
import os
import pickle
import secrets
import threading
import time
import traceback
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import boto3.session
import pytest
from botocore.credentials import Credentials

import packshot.storage.s3 as s3_module
from packshot import availability
from packshot.storage import s3_client
from packshot.storage.base import CHUNK_BYTES, MAX_TAGS_BYTES, AlreadyThere, Metadata, NoSuchObject, ObjectStore
from packshot.storage.s3 import S3Store
from tests.servers.faults import Answer, Corrupt, Fault, Proxy, Reset, Stall, Truncate, faulty_proxy
from tests.servers.seaweed import Seaweed
from tests.storage.contract import PLAIN, Overwrite, Reopen, StoreContract, noise_from

_spawn = multiprocessing.get_context("spawn")
UNAVAILABLE = Answer(503, "SlowDown")
CONFLICT = Answer(409, "ConditionalRequestConflict")


@pytest.fixture
def open_store(s3: Seaweed, bucket: str) -> Callable[..., S3Store]:
    """Open stores under one empty prefix, by default on the test server."""
    usual = {"bucket": bucket, "prefix": f"test/{secrets.token_hex(6)}/", "endpoint_url": s3.endpoint_url}

    def open_store(**changes: Any) -> S3Store:
        return S3Store(**(usual | changes))

    return open_store


@pytest.fixture
def proxy(s3: Seaweed) -> Iterator[Proxy]:
    with faulty_proxy(s3.endpoint_url) as proxy:
        proxy.credentials = Credentials(s3.access_key, s3.secret_key)
        yield proxy


@pytest.fixture
def store(open_store: Callable[..., S3Store], proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """A store behind the proxy, with a short time limit."""
    monkeypatch.setattr(s3_client, "FIRST_PAUSE", 0.02)
    return open_store(endpoint_url=proxy.endpoint_url, connect_seconds=0.3, read_seconds=0.3, patience_seconds=4)


class TestS3Store(StoreContract):
    """The S3 store fulfils the contract."""

    races = 3  # SeaweedFS makes writers that compete for a key wait for whole seconds.

    @pytest.fixture
    def reopen(self, s3: Seaweed, bucket: str) -> Reopen:
        return partial(S3Store, bucket, prefix=f"contract/{secrets.token_hex(6)}", endpoint_url=s3.endpoint_url)

    @pytest.fixture
    def store(self, reopen: Reopen) -> ObjectStore:
        return reopen()

    @pytest.fixture
    def overwrite(self, s3: Seaweed, store: S3Store, monkeypatch: pytest.MonkeyPatch) -> Overwrite:
        # Otherwise the call is retried three times, with pauses.
        monkeypatch.setattr(s3_client, "FIRST_PAUSE", 0.01)
        client = raw_client(s3)

        def overwrite(key: str, body: bytes) -> None:
            place = store._place(key)
            kept = client.head_object(**place)
            client.put_object(**place, Body=body, Metadata=kept["Metadata"], ContentType=kept["ContentType"])

        return overwrite


def raw_client(s3: Seaweed) -> Any:
    return boto3.session.Session().client("s3", endpoint_url=s3.endpoint_url, region_name="us-east-1")


def failure(act: Callable[[], object]) -> OSError:
    with pytest.raises(OSError, match="S3 bucket") as caught:
        act()
    assert type(caught.value) is OSError
    assert caught.value.__cause__ is not None
    return caught.value


def uses(store: S3Store) -> dict[str, Callable[[], object]]:
    return {
        "put": lambda: store.put("new", b"body", PLAIN),
        "get": lambda: store.get("there"),
        "head": lambda: store.head("there"),
        "open": lambda: store.open("there").close(),
        "delete": lambda: store.delete("elsewhere"),
        "list": lambda: list(store.list("there")),
    }


def test_headers_and_metadata_are_stored_with_the_object(open_store: Callable[..., S3Store], s3: Seaweed) -> None:
    prefix = f"i/{secrets.token_hex(4)}"
    bucket = s3.new_bucket()
    store = open_store(bucket=bucket, prefix=prefix)
    store.put("a/b.avif", b"picture", Metadata("image/avif", "public, max-age=60", ("t:default", "p:default:1")))
    answer = raw_client(s3).head_object(Bucket=bucket, Key=f"{prefix}/a/b.avif", ChecksumMode="ENABLED")
    assert answer["ContentType"] == "image/avif"
    assert answer["CacheControl"] == "public, max-age=60"
    assert answer["Metadata"]["tags"] == "t:default,p:default:1"
    assert answer["Metadata"]["sha256"] == hashlib.sha256(b"picture").hexdigest()
    assert b64decode(answer["ChecksumSHA256"]).hex() == answer["Metadata"]["sha256"]


def test_the_maximum_number_of_tags_is_kept(open_store: Callable[..., S3Store]) -> None:
    tags = tuple(f"l:{number:04}:{'x' * 53}" for number in range(MAX_TAGS_BYTES // 61))
    store = open_store()
    stored = store.put("a", b"body", Metadata("image/vnd.microsoft.icon", "public, max-age=31536000, immutable", tags))
    assert store.head("a") == stored


@pytest.mark.parametrize("page", [1, 7, 100])
def test_many_pages_are_listed_in_order(
    open_store: Callable[..., S3Store], monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(s3_module, "PAGE_KEYS", page)
    store = open_store()
    keys = [f"{top}/{number:03}" for top in ("a", "a-b", "a.b", "ab") for number in range(9)]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: store.put(key, b"", PLAIN), keys))
    assert list(store.list("")) == sorted(keys)
    assert list(store.list("a")) == sorted(keys)
    assert list(store.list("a-")) == [key for key in sorted(keys) if key.startswith("a-")]


def test_foreign_objects_are_not_listed(open_store: Callable[..., S3Store], s3: Seaweed) -> None:
    bucket = s3.new_bucket()
    store = open_store(bucket=bucket, prefix="i")
    store.put("a", b"", PLAIN)
    client = raw_client(s3)
    for key in ("i/README.TXT", "i/b/", "j/a", "ia"):
        client.put_object(Bucket=bucket, Key=key, Body=b"")
    assert list(store.list("")) == ["a"]


def test_an_object_of_another_program_has_its_own_checksum(s3: Seaweed) -> None:
    bucket = s3.new_bucket()
    store = S3Store(bucket, endpoint_url=s3.endpoint_url)
    client = raw_client(s3)
    client.put_object(Bucket=bucket, Key="with", Body=b"body", ChecksumAlgorithm="SHA256", ContentType="image/png")
    client.put_object(Bucket=bucket, Key="without", Body=b"body")
    found = store.head("with")
    assert found is not None
    assert found.sha256 == hashlib.sha256(b"body").hexdigest()
    assert found.metadata == Metadata("image/png", None, ())
    assert abs(found.modified_at.timestamp() - time.time()) < 60
    assert store.get("with") == (b"body", found)
    with pytest.raises(OSError, match="a program other than Packshot put it"):
        store.head("without")


def test_a_used_store_can_be_pickled(open_store: Callable[..., S3Store]) -> None:
    store = open_store()
    store.put("a", b"body", PLAIN)
    assert pickle.loads(pickle.dumps(store)).get("a")[0] == b"body"  # noqa: S301


def _use_before_and_after_a_fork(reopen: Callable[[], S3Store]) -> None:
    store = reopen()
    store.put("before", b"body", PLAIN)
    reading = store.open("before")
    child = os.fork()
    if child == 0:
        store.put("in-the-child", b"body", PLAIN)
        os._exit(0 if store.get("before")[0] == b"body" else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert b"".join(reading) == b"body"
    assert store.get("in-the-child")[0] == b"body"


def test_it_works_on_both_sides_of_a_fork(open_store: Callable[..., S3Store]) -> None:
    # In a new process, because only a process without threads may fork.
    process = _spawn.Process(target=_use_before_and_after_a_fork, args=(partial(_same, open_store()),))
    process.start()
    process.join(30)
    assert process.exitcode == 0


def _same(store: S3Store) -> S3Store:
    return store


def _put_with_little_memory(store: S3Store, source: Path) -> None:
    import resource

    store.head("warm-up")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stored = store.put("big", source, PLAIN)
    assert stored.size == 96 << 20
    with store.open("big") as opened:
        assert sum(map(len, opened)) == 96 << 20
    with store.as_file("big") as path:
        assert path.stat().st_size == 96 << 20
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 24 << 10, f"{grown} KiB"


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="ru_maxrss is in KiB on Linux only")
def test_a_large_file_is_never_whole_in_memory(open_store: Callable[..., S3Store], tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as file:
        file.truncate(96 << 20)
    process = _spawn.Process(target=_put_with_little_memory, args=(open_store(), source))
    process.start()
    process.join(60)
    assert process.exitcode == 0


@pytest.mark.parametrize(
    "fault",
    [UNAVAILABLE, Reset(), Stall()],
    ids=lambda fault: type(fault).__name__,
)
@pytest.mark.parametrize("use", ["put", "get", "head", "open", "delete", "list"])
def test_temporary_failures_are_hidden_by_retries(store: S3Store, proxy: Proxy, use: str, fault: Fault) -> None:
    store.put("there", b"body", PLAIN)
    proxy.plan(fault, None, None)
    before = len(proxy.seen)
    uses(store)[use]()
    assert len(proxy.seen) - before == 2


@pytest.mark.parametrize("fault", [UNAVAILABLE, Reset(), Stall()], ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("use", ["put", "get", "head", "open", "delete", "list"])
def test_a_permanent_failure_is_an_oserror_after_a_few_attempts(
    store: S3Store, proxy: Proxy, use: str, fault: Fault
) -> None:
    store.put("there", b"body", PLAIN)
    before = len(proxy.seen)
    proxy.always = fault
    begun = time.monotonic()
    error = failure(uses(store)[use])
    assert time.monotonic() - begun < 4.5
    assert len(proxy.seen) - before == s3_client.ATTEMPTS
    assert f"attempt {s3_client.ATTEMPTS}" in str(error)
    proxy.always = None
    uses(store)[use]()


@pytest.mark.parametrize(
    "answer", [Answer(500, "InternalError"), Answer(400, "RequestTimeout"), Answer(429, "TooManyRequests")]
)
def test_responses_that_ask_for_a_retry(store: S3Store, proxy: Proxy, answer: Answer) -> None:
    proxy.plan(answer, answer)
    store.put("a", b"body", PLAIN)
    assert len(proxy.seen) == 3


def test_the_time_limit_can_end_before_the_attempts(open_store: Callable[..., S3Store], proxy: Proxy) -> None:
    proxy.always = Stall()
    store = open_store(endpoint_url=proxy.endpoint_url, connect_seconds=0.2, read_seconds=0.5, patience_seconds=1.5)
    begun = time.monotonic()
    failure(lambda: store.get("a"))
    assert time.monotonic() - begun < 2


def test_one_caller_at_a_time_calls_a_silent_store(
    open_store: Callable[..., S3Store], proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(availability, "OTHERS_SECONDS", 0.0)
    proxy.always = Stall()
    store = open_store(endpoint_url=proxy.endpoint_url, connect_seconds=0.3, read_seconds=0.3, patience_seconds=0.5)
    failure(lambda: store.get("a"))
    proxy.seen.clear()
    # The one caller that tries now.
    with store._s3._availability().trying():
        for _ in range(8):
            with pytest.raises(OSError, match="the store cannot be reached") as raised:
                store.head("a")
            assert raised.value.errno == errno.EIO
    assert proxy.seen == []
    proxy.always = None
    store.put("a", b"body", PLAIN)
    assert store.get("a")[0] == b"body"


def test_an_unreachable_store_is_an_oserror(open_store: Callable[..., S3Store]) -> None:
    store = open_store(endpoint_url="http://127.0.0.1:1")
    assert "check PACKSHOT_S3_ENDPOINT_URL" in str(failure(lambda: store.get("a")))


def test_a_conflict_is_tried_again(store: S3Store, proxy: Proxy) -> None:
    proxy.plan(CONFLICT, CONFLICT)
    store.put("a", b"body", PLAIN)
    assert len(proxy.seen) == 3
    proxy.plan(CONFLICT)
    with pytest.raises(AlreadyThere):
        store.put("a", b"other", PLAIN)
    assert store.get("a")[0] == b"body"


@pytest.mark.parametrize("source", [b"body", b"large" * (1 << 18)])
def test_a_retried_put_recognises_its_own_object(store: S3Store, proxy: Proxy, source: bytes) -> None:
    proxy.plan(Reset(done=True))
    stored = store.put("a", source, PLAIN)
    assert [request.partition(" ")[0] for request in proxy.seen] == ["PUT", "PUT", "HEAD"]
    assert store.get("a") == (source, stored)


def test_a_retried_put_does_not_take_a_foreign_object_for_its_own(store: S3Store, proxy: Proxy) -> None:
    store.put("a", b"body", PLAIN)
    proxy.plan(UNAVAILABLE)
    with pytest.raises(AlreadyThere):
        store.put("a", b"body", PLAIN)


@pytest.mark.parametrize("as_file", [False, True])
def test_bytes_that_change_on_the_way_are_sent_again(
    store: S3Store, proxy: Proxy, tmp_path: Path, as_file: bool
) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"body" * 100_000)
    proxy.plan(Corrupt(sent=True))
    store.put("a", source if as_file else source.read_bytes(), PLAIN)
    assert len(proxy.seen) == 2
    assert store.get("a")[0] == source.read_bytes()


@pytest.mark.parametrize("fault", [Corrupt(), Truncate(3), Stall(3)], ids=lambda fault: type(fault).__name__)
def test_wrong_bytes_are_fetched_again(store: S3Store, proxy: Proxy, fault: Fault) -> None:
    stored = store.put("a", b"body", PLAIN)
    proxy.plan(fault, fault)
    assert store.get("a") == (b"body", stored)
    assert len(proxy.seen) == 4


@pytest.mark.parametrize("fault", [Corrupt(), Truncate(3), Stall(3)], ids=lambda fault: type(fault).__name__)
def test_a_file_is_provided_only_if_correct_and_removed_afterwards(
    open_store: Callable[..., S3Store],
    proxy: Proxy,
    fault: Fault,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3_client, "FIRST_PAUSE", 0.02)
    store = open_store(endpoint_url=proxy.endpoint_url, read_seconds=0.3, scratch=tmp_path)
    store.put("a", b"body", PLAIN)
    proxy.plan(fault, fault)
    with store.as_file("a") as path:
        assert path.parent == tmp_path
        assert path.read_bytes() == b"body"
    proxy.plan(*[fault] * 4)
    with pytest.raises(OSError, match="get a"), store.as_file("a"):
        pytest.fail("the bytes are wrong")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", [Corrupt(), Truncate(3), Stall(3)], ids=lambda fault: type(fault).__name__)
def test_wrong_bytes_are_never_returned(store: S3Store, proxy: Proxy, fault: Fault) -> None:
    store.put("a", b"body", PLAIN)
    proxy.always = fault
    assert "get a" in str(failure(lambda: store.get("a")))
    with store.open("a") as opened, pytest.raises(OSError, match="a: "):
        list(opened)


@pytest.mark.parametrize(
    "fault",
    [Corrupt(), Truncate(2 * CHUNK_BYTES + 5), Stall(2 * CHUNK_BYTES + 5)],
    ids=lambda fault: type(fault).__name__,
)
def test_a_reader_never_gets_the_last_chunk_of_a_body_that_is_wrong(store: S3Store, proxy: Proxy, fault: Fault) -> None:
    body = noise_from(1).randbytes(3 * CHUNK_BYTES)
    store.put("a", body, PLAIN)
    proxy.plan(fault)
    got = b""
    with store.open("a") as opened, pytest.raises(OSError, match="a: "):  # noqa: PT012
        for chunk in opened:
            got += chunk
    assert len(got) < len(body)


def test_readers_that_stop_early_leave_no_connection_open(open_store: Callable[..., S3Store]) -> None:
    store = open_store()
    store.put("a", bytes(4 * CHUNK_BYTES), PLAIN)
    store.get("a")
    before = len(os.listdir("/dev/fd"))
    for _ in range(40):
        with store.open("a") as opened:
            next(iter(opened))
        with pytest.raises(NoSuchObject):
            store.open("b")
        with pytest.raises(AlreadyThere):
            store.put("a", b"other", PLAIN)
    assert len(os.listdir("/dev/fd")) <= before + 1


def test_more_threads_than_connections_all_succeed(open_store: Callable[..., S3Store]) -> None:
    store = open_store()
    store.put("a", b"body" * 1000, PLAIN)
    start = threading.Barrier(48)

    def read(_: int) -> bytes:
        start.wait()
        return store.get("a")[0]

    with ThreadPoolExecutor(48) as threads:
        assert set(threads.map(read, range(48))) == {b"body" * 1000}


@pytest.mark.parametrize("use", ["put", "get", "head", "open", "delete", "list"])
def test_a_missing_bucket_is_named(open_store: Callable[..., S3Store], use: str) -> None:
    store = open_store(bucket="packshot-nowhere")
    error = failure(uses(store)[use])
    assert "S3 bucket packshot-nowhere" in str(error)
    assert "the bucket does not exist: create it" in str(error)


@pytest.mark.parametrize("use", ["put", "get", "head"])
@pytest.mark.parametrize("minutes", [20, -20])
def test_a_wrong_clock_is_reported_instead_of_the_key(
    open_store: Callable[..., S3Store], monkeypatch: pytest.MonkeyPatch, use: str, minutes: int
) -> None:
    # The store refuses the signature, and its response to a HEAD does not say why.
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    now = time.time
    monkeypatch.setattr("packshot.storage.s3_client.time.time", lambda: now() + minutes * 60)
    error = str(failure(uses(open_store())[use]))
    assert "this machine's clock is wrong: set it" in error
    assert f"20 minutes {'ahead' if minutes > 0 else 'behind'}" in error
    assert "AWS_ACCESS_KEY_ID" not in error


@pytest.mark.parametrize("use", ["put", "get", "head", "open", "delete", "list"])
@pytest.mark.parametrize("wrong", ["secret", "key", "right", "none"])
def test_wrong_credentials_say_what_to_correct(
    open_store: Callable[..., S3Store],
    s3: Seaweed,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    wrong: str,
    use: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    key, secret, expected = {
        "secret": (
            s3.access_key,
            "a-wrong-secret-key",
            "the secret key does not belong to the access key|access denied",
        ),
        "key": ("unknown", "a-wrong-secret-key", "the store does not know this access key|access denied"),
        "right": (s3.denied_key, s3.denied_secret, "access denied"),
        "none": ("", "", "no credentials were found"),
    }[wrong]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    if wrong == "key":
        monkeypatch.setenv("AWS_SESSION_TOKEN", "a-session-token")
    error = failure(uses(open_store())[use])
    assert any(text in str(error) for text in expected.split("|")), error
    assert "AWS_ACCESS_KEY_ID" in str(error)
    assert "attempt 1:" in str(error)
    said = "".join(traceback.format_exception(error)) + caplog.text
    for hidden in (secret, "a-session-token", "Signature="):
        assert not hidden or hidden not in said


def test_retries_are_logged_without_secrets(
    store: S3Store, proxy: Proxy, s3: Seaweed, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    proxy.plan(UNAVAILABLE, Reset(), Corrupt(sent=True))
    store.put("a", b"body", PLAIN)
    assert "put a, attempt 1: the store answered 503 SlowDown" in caplog.text
    for hidden in (s3.secret_key, "Signature="):
        assert hidden not in caplog.text


def test_a_restarted_server_still_has_its_objects(s3: Seaweed, tmp_path: Path) -> None:
    server = Seaweed(tmp_path / "other")
    server.start()
    try:
        with pytest.MonkeyPatch.context() as patched:
            for name, value in server.environ().items():
                patched.setenv(name, value)
            store = S3Store(server.new_bucket(), endpoint_url=server.endpoint_url, patience_seconds=25)
            stored = store.put("a", b"body" * 1_000_000, PLAIN)
            small = store.put("b", b"body", PLAIN)
            for end in (server.stop, server.kill):
                end()
                failure(lambda: store.get("a"))
                server.start()
                assert store.get("a")[1] == stored
                assert store.get("b")[1] == small
                store.delete("b")
                small = store.put("b", b"body", PLAIN)
    finally:
        server.kill()


def test_erasing_deletes_every_version_and_aborted_upload(s3: Seaweed, tmp_path: Path) -> None:
    bucket, client = s3.new_bucket(), raw_client(s3)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    store = S3Store(bucket, prefix="i/", endpoint_url=s3.endpoint_url)
    for key in ("t/p/main/a", "t/p/main/b", "t/q/main/a"):
        store.put(key, b"first", PLAIN)
        store.delete(key)
        store.put(key, b"second", PLAIN)
    store.delete("t/p/main/b")
    client.create_multipart_upload(Bucket=bucket, Key="i/t/p/main/c")
    client.create_multipart_upload(Bucket=bucket, Key="i/t/q/main/c")
    assert store.erase("t/p/") == 2
    left = client.list_object_versions(Bucket=bucket)
    versions = [*left.get("Versions", ()), *left.get("DeleteMarkers", ())]
    assert {item["Key"] for item in versions} == {"i/t/q/main/a"}
    assert len(versions) == 3
    assert [item["Key"] for item in client.list_multipart_uploads(Bucket=bucket).get("Uploads", ())] == ["i/t/q/main/c"]


def test_erasing_reads_page_by_page(s3: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket, client = s3.new_bucket(), raw_client(s3)
    store = S3Store(bucket, prefix="i/", endpoint_url=s3.endpoint_url)
    keys = [f"t/p/main/{number:04}" for number in range(12)]
    for key in keys:
        client.put_object(Bucket=bucket, Key=f"i/{key}", Body=b"")
    monkeypatch.setattr(s3_module, "PAGE_KEYS", 5)
    assert store.erase("t/p/") == 12
    assert client.list_objects_v2(Bucket=bucket).get("Contents", []) == []
