"""The folder store: the contract, and faults of files."""

import multiprocessing
import os
import resource
import signal
import stat
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packshot.storage.base import AlreadyThere, NoSuchObject
from packshot.storage.folder import FolderStore
from tests.storage.contract import (
    PLAIN,
    Overwrite,
    Reopen,
    StoreContract,
    assert_whole,
    overwrite_file,
    put_tagged,
    wins,
)

_spawn = multiprocessing.get_context("spawn")
_STEPS = ("open", "fdopen", "fsync", "replace", "link", "unlink", "mkdir", "close", "scandir")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "objects"


class TestFolderStore(StoreContract):
    """The folder store fulfils the contract."""

    @pytest.fixture
    def reopen(self, root: Path) -> Reopen:
        return partial(FolderStore, root)

    @pytest.fixture
    def overwrite(self, root: Path) -> Overwrite:
        return lambda key, body: overwrite_file(root / key, body)


def _die_before_step(number: int, act: Callable[[], object]) -> bool:
    """Run `act` in a forked child that is killed before its n-th step; return whether it reached that step."""
    child = os.fork()
    if child == 0:
        left = number

        def counted(step: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any, **kwargs: Any) -> Any:
                nonlocal left
                left -= 1
                if left < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return step(*args, **kwargs)

            return run

        for name in _STEPS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            act()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def _die_at_every_step_of_a_put(root: Path) -> None:
    store = FolderStore(root)
    number = 0
    while _die_before_step(number, partial(put_tagged, store, f"a/{number}/b", b"first")):
        key = f"a/{number}/b"
        if store.head(key) is None:
            assert key not in store.list("")
            assert wins(store, key, b"another")
        assert_whole(store, key)
        number += 1
    assert_whole(store, f"a/{number}/b")
    assert number > 15


def _die_at_every_step_of_a_delete(root: Path) -> None:
    store = FolderStore(root)
    put_tagged(store, "a", b"first")
    number = 0
    while _die_before_step(number, lambda: store.delete("a")):
        if store.head("a") is None:
            assert wins(store, "a", b"another")
        assert_whole(store, "a")
        number += 1
    assert store.head("a") is None
    assert number > 8


@pytest.mark.parametrize("scenario", [_die_at_every_step_of_a_put, _die_at_every_step_of_a_delete])
def test_a_kill_at_any_step_leaves_all_or_nothing(scenario: Callable[[Path], None], root: Path) -> None:
    # In a new process, because only a process without threads may fork.
    process = _spawn.Process(target=scenario, args=(root,))
    process.start()
    process.join()
    assert process.exitcode == 0


def test_a_put_leaves_a_body_and_a_sidecar_and_nothing_else(root: Path) -> None:
    FolderStore(root).put("a/b.jpg", b"body", PLAIN)
    assert sorted(os.listdir(root / "a")) == [".b.jpg.meta.json", "b.jpg"]
    assert os.listdir(root / ".tmp") == []


def test_a_failing_put_leaves_no_temporary_file(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(root)

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for step in ("fsync", "link"):
        with monkeypatch.context() as patched:
            patched.setattr(os, step, no_space)
            with pytest.raises(OSError, match="No space"):
                store.put("a/b", b"body", PLAIN)
        assert os.listdir(root / ".tmp") == []
        assert list(store.list("")) == []
    store.put("a/b", b"body", PLAIN)


def modes_of(root: Path) -> set[tuple[str, str]]:
    """Return the modes of all files and folders of a store, by kind."""
    return {
        ("folder" if path.is_dir() else "file", f"{stat.S_IMODE(path.stat().st_mode):o}")
        for path in (root, *root.rglob("*"))
    }


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_other_users_may_read_nothing_for_any_umask(root: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        FolderStore(root).put("a/b", b"body", PLAIN)
    finally:
        os.umask(before)
    assert modes_of(root) == {("folder", "700"), ("file", "600")}


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_web_server_in_the_folders_group_may_read_the_bodies(root: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        FolderStore(root, for_group=True).put("a/b/c", b"body", PLAIN)
    finally:
        os.umask(before)
    assert {mode for kind, mode in modes_of(root) if kind == "folder"} == {"2750"}
    assert stat.S_IMODE((root / "a" / "b" / "c").stat().st_mode) == 0o640


def test_a_key_cannot_be_a_folder_and_an_object(root: Path) -> None:
    store = FolderStore(root)
    store.put("a/b", b"body", PLAIN)
    with pytest.raises(ValueError, match="not a folder"):
        store.put("a", b"body", PLAIN)
    with pytest.raises(ValueError, match="not below another object"):
        store.put("a/b/c/d", b"body", PLAIN)
    assert list(store.list("")) == ["a/b"]


def test_the_store_does_not_move_with_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = FolderStore(Path("objects"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.put("a", b"body", PLAIN)
    assert store.local_path("a") == tmp_path / "objects" / "a"


def test_sweep_removes_temporary_files_older_than_an_hour(root: Path) -> None:
    store = FolderStore(root)
    store.put("a", b"body", PLAIN)
    old, fresh = root / ".tmp" / "old", root / ".tmp" / "fresh"
    for temp, age in ((old, 3700), (fresh, 3500)):
        temp.write_bytes(b"part")
        os.utime(temp, (time.time() - age, time.time() - age))
    assert store.sweep() == 1
    assert os.listdir(root / ".tmp") == ["fresh"]
    assert store.get("a")[0] == b"body"


@pytest.mark.parametrize("sidecar", [None, b"", b"{}", b"[]", b'{"size": 4, "sha256": "x"}'])
def test_a_damaged_object_is_an_outage_and_not_absent(root: Path, sidecar: bytes | None) -> None:
    store = FolderStore(root)
    store.put("a", b"body", PLAIN)
    note = root / ".a.meta.json"
    note.unlink()
    if sidecar is not None:
        note.write_bytes(sidecar)
    with pytest.raises(OSError, match="sidecar"):
        store.head("a")
    store.delete("a")
    store.put("a", b"body", PLAIN)


@pytest.mark.parametrize("mount_point", [False, True])
def test_a_missing_folder_is_an_outage_and_not_a_missing_object(root: Path, *, mount_point: bool) -> None:
    store = FolderStore(root)
    store.put("a/b", b"body", PLAIN)
    away = root.rename(root.with_name("away"))
    if mount_point:
        root.mkdir()

    def as_file(key: str) -> Path:
        with store.as_file(key) as path:
            return path

    asked: list[Callable[[], object]] = [
        *(partial(ask, "a/b") for ask in (store.get, store.head, store.open, as_file, store.delete, store.erase)),
        lambda: list(store.list("a/")),
        lambda: store.erase("a/"),
        lambda: store.put("c", b"body", PLAIN),
    ]
    for ask in asked:
        with pytest.raises(OSError) as refused:  # noqa: PT011 - whichever it is, the caller tries again
            ask()
        assert not isinstance(refused.value, NoSuchObject)
    found = "a folder without the store's .locks" if mount_point else "no folder"
    with pytest.raises(OSError, match=f"expected its folder, got {found}.*{root}"):
        store.head("a/b")
    if mount_point:
        root.rmdir()
    away.rename(root)
    assert store.get("a/b")[0] == b"body"
    assert store.head("c") is None


def test_an_object_is_found_without_a_check_of_the_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(root)
    store.put("a", b"body", PLAIN)
    asked: list[Path] = []
    real = Path.is_dir

    def is_dir(path: Path, **how: Any) -> bool:
        asked.append(path)
        return real(path, **how)

    monkeypatch.setattr(Path, "is_dir", is_dir)
    assert store.get("a")[0] == b"body"
    assert store.head("a") is not None
    with store.as_file("a"), store.open("a"):
        assert asked == []
    assert store.head("b") is None
    assert asked


def test_a_truncated_body_is_an_outage(root: Path) -> None:
    store = FolderStore(root)
    store.put("a", b"body", PLAIN)
    (root / "a").write_bytes(b"bo")
    with pytest.raises(OSError, match="expected 4 bytes, got 2"):
        store.get("a")


def test_reading_and_refusing_leave_no_file_open(root: Path) -> None:
    store = FolderStore(root)
    store.put("a", b"body", PLAIN)
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        store.get("a")
        store.head("a")
        with pytest.raises(AlreadyThere):
            store.put("a", b"other", PLAIN)
        with pytest.raises(NoSuchObject):
            store.open("b")
    assert len(os.listdir("/dev/fd")) == before


def _put_with_little_memory(root: Path, source: Path) -> None:
    store = FolderStore(root)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + (64 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    store.put("big", source, PLAIN)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space of a process")
def test_a_large_file_is_never_whole_in_memory(root: Path, tmp_path: Path) -> None:
    source = tmp_path / "large"
    with source.open("wb") as file:
        file.truncate(256 << 20)
    process = _spawn.Process(target=_put_with_little_memory, args=(root, source))
    process.start()
    process.join()
    assert process.exitcode == 0
    stored = FolderStore(root).head("big")
    assert stored is not None
    assert stored.size == 256 << 20


_segments = st.text(st.sampled_from("abz019._-/A \\\x00\n~%"), max_size=12)


@given(key=st.one_of(st.text(max_size=20), _segments, st.lists(_segments, max_size=4).map("/".join)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300, deadline=None)
def test_no_key_leads_out_of_the_folder_or_onto_a_sidecar(key: str, root: Path) -> None:
    store = FolderStore(root / "inner")
    try:
        stored = store.put(key, b"body", PLAIN)
    except ValueError:
        assert store.root.is_dir()
    else:
        path = store.local_path(key)
        assert path is not None
        assert path.resolve().is_relative_to(store.root.resolve())
        assert not any(part.startswith(".") for part in path.relative_to(store.root).parts)
        assert list(store.list(key)) == [key]
        assert store.get(key) == (b"body", stored)
        store.delete(key)
    assert os.listdir(root) == ["inner"]
    assert list(store.list("")) == []


def test_erasing_deletes_the_remains_of_killed_puts_and_deletes(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("t/p/main/a", b"picture", PLAIN)
    store.put("t/p/main/b", b"picture", PLAIN)
    (tmp_path / "t/p/main/b").unlink()  # As after a delete that was killed between its two steps.
    assert store.erase("t/p/") == 1
    assert list((tmp_path / "t").iterdir()) == []
