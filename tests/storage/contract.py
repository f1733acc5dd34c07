"""The contract of every object store. A test module subclasses `StoreContract`.

It provides two fixtures. `reopen` is a picklable callable that returns the same store again, in this or another
process. `overwrite` puts other bytes under a key without the store, like a failing disk or a wrong command. The store
is empty when a test begins.
"""

import hashlib
import multiprocessing
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from packshot.storage.base import CHUNK_BYTES, AlreadyThere, DamagedObject, Metadata, NoSuchObject, ObjectStore

Reopen = Callable[[], ObjectStore]
Overwrite = Callable[[str, bytes], None]

PLAIN = Metadata("text/plain", None, ())
BAD_KEYS = [
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/..",
    "a..b",
    ".a",
    "a/.meta",
    "-a",
    "_a",
    "A",
    "a/B",
    "a b",
    "a\n",
    "a\x00",
    "a\\b",
    "a?b",
    "a%2e",
    "é",
    "ａ",
    "a" * 201,
    "/".join(["a" * 102] * 5),
]

_spawn = multiprocessing.get_context("spawn")


def noise_from(seed: int | str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - nothing here is secret


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def assert_whole(store: ObjectStore, key: str) -> None:
    """Check that body, digest and metadata are of the same put: each writer tags an object with its own digest."""
    body, stored = store.get(key)
    assert stored.key == key
    assert stored.size == len(body)
    assert stored.sha256 == sha256(body)
    assert stored.metadata.tags == (sha256(body),)


def put_tagged(store: ObjectStore, key: str, body: bytes) -> None:
    store.put(key, body, Metadata("application/octet-stream", None, (sha256(body),)))


def overwrite_file(path: Path, body: bytes) -> None:
    """Put other bytes into a file of a folder store."""
    assert path.is_file()
    path.write_bytes(body)


def wins(store: ObjectStore, key: str, body: bytes) -> bool:
    try:
        put_tagged(store, key, body)
    except AlreadyThere:
        return False
    return True


def race_in_process(reopen: Reopen, keys: list[str], seed: int, start: Barrier, won: "Queue[str]") -> None:
    """Put this writer's body under each key from four threads; report the keys that it won."""
    store = reopen()
    start.wait()

    def race(thread: int) -> None:
        noise = noise_from(f"{seed}/{thread}")
        for key in keys:
            if wins(store, key, noise.randbytes(noise.randrange(200_000))):
                won.put(key)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(race, range(4)))


def write_until_killed(reopen: Reopen, seed: int) -> None:
    """Put and delete objects under 40 keys without end."""
    store = reopen()
    noise = noise_from(seed)
    while True:
        key = f"killed/{noise.randrange(8)}/{noise.randrange(5)}"
        wins(store, key, noise.randbytes(noise.randrange(500_000)))
        if noise.random() < 0.3:
            store.delete(f"killed/{noise.randrange(8)}/{noise.randrange(5)}")


class StoreContract:
    """The guarantees of `ObjectStore`.

    Attributes:
        races: number of keys for which sixteen threads compete.
    """

    races = 10

    @pytest.fixture
    def store(self, reopen: Reopen) -> ObjectStore:
        return reopen()

    def test_an_object_is_returned_with_its_metadata(self, store: ObjectStore) -> None:
        metadata = Metadata("image/avif", "public, max-age=31536000, immutable", ("default/p/1", "erase:2"))
        stored = store.put("default/5f/main/w640-h360.avif", b"picture", metadata)
        assert stored.key == "default/5f/main/w640-h360.avif"
        assert stored.size == 7
        assert stored.sha256 == sha256(b"picture")
        assert stored.metadata == metadata
        assert stored.modified_at.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - stored.modified_at) < timedelta(minutes=1)
        assert store.get(stored.key) == (b"picture", stored)
        assert store.head(stored.key) == stored

    def test_a_reopened_store_has_the_same_objects(self, store: ObjectStore, reopen: Reopen) -> None:
        stored = store.put("a/b", b"picture", PLAIN)
        assert reopen().get("a/b") == (b"picture", stored)

    def test_an_empty_body_is_an_object(self, store: ObjectStore) -> None:
        store.put("empty", b"", PLAIN)
        assert store.get("empty")[0] == b""
        with store.open("empty") as opened:
            assert b"".join(opened) == b""

    def test_a_second_put_changes_nothing(self, store: ObjectStore) -> None:
        first = store.put("a/b", b"first", PLAIN)
        for body in (b"second", b"first", b""):
            with pytest.raises(AlreadyThere):
                store.put("a/b", body, Metadata("image/png", "no-store", ("other",)))
        assert store.get("a/b") == (b"first", first)

    def test_already_there_is_not_a_refusal(self) -> None:
        assert AlreadyThere.__bases__ == (Exception,)

    def test_a_missing_object_is_reported(self, store: ObjectStore) -> None:
        store.put("a/b", b"there", PLAIN)
        for key in ("x", "a", "a/b/c", "a/c", "b/b"):
            assert store.head(key) is None
            assert store.local_path(key) is None
            with pytest.raises(NoSuchObject):
                store.get(key)
            with pytest.raises(NoSuchObject):
                store.open(key)
            store.delete(key)
        assert list(store.list("")) == ["a/b"]

    def test_a_deleted_object_is_gone_and_its_key_free(self, store: ObjectStore) -> None:
        store.put("a/b", b"first", Metadata("text/plain", "no-store", ("old",)))
        store.delete("a/b")
        store.delete("a/b")
        assert store.head("a/b") is None
        assert list(store.list("")) == []
        second = store.put("a/b", b"second", PLAIN)
        assert store.get("a/b") == (b"second", second)

    def test_an_object_is_read_in_chunks(self, store: ObjectStore) -> None:
        body = noise_from(1).randbytes(2 * CHUNK_BYTES + 17)
        stored = store.put("large", body, PLAIN)
        with store.open("large") as opened:
            assert opened.stored == stored
            chunks = list(opened)
        assert max(map(len, chunks)) <= CHUNK_BYTES
        assert b"".join(chunks) == body

    def test_an_opened_object_stays_readable_after_its_deletion(self, store: ObjectStore) -> None:
        body = noise_from(2).randbytes(3 * CHUNK_BYTES)
        store.put("large", body, PLAIN)
        with store.open("large") as opened:
            reading = iter(opened)
            first = next(reading)
            store.delete("large")
            assert first + b"".join(reading) == body

    def test_an_opened_object_can_be_closed_twice_and_unread(self, store: ObjectStore) -> None:
        store.put("a", b"body", PLAIN)
        opened = store.open("a")
        opened.close()
        opened.close()
        assert store.get("a")[0] == b"body"

    def test_a_file_is_copied_and_stays(self, store: ObjectStore, tmp_path: Path) -> None:
        source = tmp_path / "Large original.JPG"
        body = noise_from(3).randbytes(40 * 1024 * 1024 + 1)
        source.write_bytes(body)
        stored = store.put("big/original", source, PLAIN)
        assert stored.size == len(body)
        assert stored.sha256 == sha256(body)
        source.write_bytes(b"changed later")
        assert store.get("big/original") == (body, stored)

    def test_a_file_that_is_missing_leaves_no_object(self, store: ObjectStore, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            store.put("a", tmp_path / "missing", PLAIN)
        assert store.head("a") is None
        assert list(store.list("")) == []

    def test_a_local_path_holds_the_body(self, store: ObjectStore) -> None:
        store.put("a/b", b"body", PLAIN)
        path = store.local_path("a/b")
        assert path is None or path.read_bytes() == b"body"

    def test_an_object_is_provided_as_a_file(self, store: ObjectStore) -> None:
        body = noise_from("lent").randbytes(2 * CHUNK_BYTES + 7)
        store.put("a/b", body, PLAIN)
        with store.as_file("a/b") as path:
            assert path.read_bytes() == body
        assert store.get("a/b")[0] == body
        with pytest.raises(NoSuchObject), store.as_file("a/c"):
            pytest.fail("the object does not exist")

    def test_keys_are_listed_by_prefix_in_order(self, store: ObjectStore) -> None:
        keys = ["a-b", "a.b", "a/b", "a/b-c", "a/bc/d", "a/c", "a0", "b/a/b", "b/a/c/d"]
        for key in noise_from(4).sample(keys, len(keys)):
            store.put(key, key.encode(), PLAIN)
        assert keys == sorted(keys)
        for prefix in ("", "a", "a/", "a/b", "a/bc", "a/bc/", "a/bc/d", "a/bc/d/", "b/a", "b/a/", "c", "a-", "a."):
            assert list(store.list(prefix)) == [key for key in keys if key.startswith(prefix)], prefix

    @pytest.mark.parametrize("key", BAD_KEYS)
    def test_every_method_refuses_a_bad_key(self, store: ObjectStore, key: str) -> None:
        for use in (store.get, store.head, store.open, store.delete, store.local_path):
            with pytest.raises(ValueError, match="Key: expected"):
                use(key)
        with pytest.raises(ValueError, match="Key: expected"):
            store.put(key, b"body", PLAIN)
        assert list(store.list("")) == []

    @pytest.mark.parametrize("prefix", ["/", "/a", "../", "..", "a/../", "a//", ".tmp", "A", "a\n"])
    def test_a_bad_prefix_is_refused_at_once(self, store: ObjectStore, prefix: str) -> None:
        with pytest.raises(ValueError, match="Key: expected"):
            store.list(prefix)

    def test_the_longest_key_is_accepted(self, store: ObjectStore) -> None:
        key = "/".join(["a" * 200, "b" * 200, "c" * 110])
        assert len(key) == 512
        store.put(key, b"body", PLAIN)
        assert list(store.list("")) == [key]
        assert store.get(key)[0] == b"body"

    def test_one_of_many_threads_wins(self, store: ObjectStore) -> None:
        start = threading.Barrier(16)

        def race(thread: int) -> list[str]:
            noise = noise_from(thread)
            won = []
            for number in range(self.races):
                body = noise.randbytes(noise.randrange(100_000))
                start.wait()
                if wins(store, f"race/{number}", body):
                    won.append(f"race/{number}")
            return won

        with ThreadPoolExecutor(16) as threads:
            won = sorted(key for keys in threads.map(race, range(16)) for key in keys)
        assert won == [f"race/{number}" for number in range(self.races)]
        for key in won:
            assert_whole(store, key)

    @pytest.mark.slow
    def test_one_of_many_processes_wins(self, store: ObjectStore, reopen: Reopen) -> None:
        keys = [f"race/{number}/key" for number in range(10)]
        start = _spawn.Barrier(4)
        won: Queue[str] = _spawn.Queue()
        racers = [_spawn.Process(target=race_in_process, args=(reopen, keys, seed, start, won)) for seed in range(4)]
        for racer in racers:
            racer.start()
        winners = sorted(won.get(timeout=60) for _ in keys)
        for racer in racers:
            racer.join(60)
            assert racer.exitcode == 0
        assert winners == keys
        assert won.empty()
        won.close()
        won.join_thread()
        for key in keys:
            assert_whole(store, key)

    def test_erasing_deletes_only_what_is_named(self, store: ObjectStore) -> None:
        under = ["t/p/main/f1/a.jpg", "t/p/main/f1/b.avif", "t/p/thumb/f2/a.jpg"]
        beside = ["t/p-2/a", "t/p2/a", "t/pa", "other/p/main/f1/a.jpg"]
        for key in (*under, *beside):
            put_tagged(store, key, key.encode())
        assert store.erase("t/p/") == 3
        assert list(store.list("")) == sorted(beside)
        assert store.erase("t/p/") == 0
        assert store.erase("t/pa") == 1
        assert store.erase("t/absent") == 0
        assert list(store.list("t/")) == ["t/p-2/a", "t/p2/a"]
        for key in under:
            assert wins(store, key, b"put again")
            assert_whole(store, key)

    def test_erasing_a_key_keeps_longer_keys(self, store: ObjectStore) -> None:
        for key in ("t/a", "t/a-b", "t/ab"):
            put_tagged(store, key, b"picture")
        assert store.erase("t/a") == 1
        assert list(store.list("")) == ["t/a-b", "t/ab"]

    @pytest.mark.parametrize("place", ["/", "", "a//", "../a/", "a/../b/", "A/"])
    def test_only_a_key_or_a_folder_of_keys_can_be_erased(self, store: ObjectStore, place: str) -> None:
        put_tagged(store, "a/b", b"picture")
        with pytest.raises(ValueError, match="Key"):
            store.erase(place)
        assert store.head("a/b") is not None

    @pytest.mark.slow
    def test_readers_see_whole_objects_while_they_come_and_go(self, store: ObjectStore) -> None:
        ended = time.monotonic() + 2
        seen = 0

        def change(seed: int) -> None:
            noise = noise_from(seed)
            while time.monotonic() < ended:
                wins(store, "a/b", noise.randbytes(noise.randrange(300_000)))
                store.delete("a/b")

        with ThreadPoolExecutor(3) as threads:
            writers = [threads.submit(change, seed) for seed in range(3)]
            while time.monotonic() < ended:
                with suppress(NoSuchObject):
                    assert_whole(store, "a/b")
                    seen += 1
                store.head("a/b")
            for writer in writers:
                writer.result()
        assert seen > 0

    @pytest.mark.parametrize(
        "other",
        [b"", b"pictur", b"pictures", b"Picture", b"other bytes"],
        ids=["empty", "shorter", "longer", "one bit", "other"],
    )
    def test_every_reader_notices_wrong_bytes(self, store: ObjectStore, overwrite: Overwrite, other: bytes) -> None:
        put_tagged(store, "a/b", b"picture")
        overwrite("a/b", other)

        def lend() -> None:
            with store.as_file("a/b"):
                pytest.fail("the bytes are wrong")

        def read() -> None:
            with store.open("a/b") as opened:
                assert not list(opened), "a chunk of wrong bytes was returned"

        for reads in (lambda: store.get("a/b"), lend, read):
            with pytest.raises(DamagedObject):
                reads()
        if len(other) != len(b"picture"):
            with pytest.raises(DamagedObject):
                store.head("a/b")
        store.delete("a/b")
        assert store.head("a/b") is None
        assert wins(store, "a/b", b"picture")
        assert_whole(store, "a/b")

    def test_the_last_chunk_of_wrong_bytes_is_not_returned(self, store: ObjectStore, overwrite: Overwrite) -> None:
        body = noise_from(1).randbytes(2 * CHUNK_BYTES + 5)
        put_tagged(store, "a", body)
        overwrite("a", body[:-1] + bytes([body[-1] ^ 1]))
        got = 0
        with store.open("a") as opened, pytest.raises(DamagedObject):  # noqa: PT012
            for chunk in opened:
                got += len(chunk)
        assert got < len(body)

    @pytest.mark.slow
    def test_a_killed_writer_leaves_no_part_of_an_object(self, store: ObjectStore, reopen: Reopen) -> None:
        for round_ in range(4):
            writers = [
                _spawn.Process(target=write_until_killed, args=(reopen, round_ * 2 + number)) for number in range(2)
            ]
            for writer in writers:
                writer.start()
            until = time.monotonic() + 30
            while len(list(store.list(""))) < 10 and time.monotonic() < until:
                time.sleep(0.01)
            until = time.monotonic() + noise_from(round_).uniform(0.2, 0.5)
            while time.monotonic() < until:
                for key in store.list("killed/"):
                    with suppress(NoSuchObject):
                        assert_whole(store, key)
            for writer in writers:
                assert writer.is_alive()
                writer.kill()
                writer.join()
            found = list(store.list(""))
            assert len(found) >= 10
            for key in found:
                assert_whole(store, key)
            for key in found[:5]:
                store.delete(key)
        # The remains of the killed writer do not block any key.
        for key in [f"killed/{folder}/{name}" for folder in range(8) for name in range(5)]:
            wins(store, key, key.encode())
            assert_whole(store, key)
