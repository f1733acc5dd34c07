"""A store divided into two: the contract, and where each object is."""

from functools import partial
from pathlib import Path

import pytest

from packshot.storage.base import Metadata, NoSuchObject
from packshot.storage.divided import DividedStore
from packshot.storage.folder import FolderStore
from tests.storage.contract import Overwrite, Reopen, StoreContract, overwrite_file

PICTURE = Metadata("image/jpeg", None, ("a",))


def divided(root: Path, hidden: set[str]) -> DividedStore:
    def is_hidden(tenant: str) -> bool:
        return tenant in hidden

    public, private = FolderStore(root / "public"), FolderStore(root / "private")
    return DividedStore(public, private, is_private=is_hidden, is_private_cached=is_hidden)


class TestPublic(StoreContract):
    """The divided store with public tenants."""

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Reopen:
        return partial(divided, tmp_path, set())

    @pytest.fixture
    def overwrite(self, tmp_path: Path) -> Overwrite:
        return lambda key, body: overwrite_file(tmp_path / "public" / key, body)


class Everybody(set[str]):
    """A set that contains every tenant."""

    def __contains__(self, tenant: object) -> bool:
        return True


class TestPrivate(StoreContract):
    """The divided store with private tenants."""

    @pytest.fixture
    def reopen(self, tmp_path: Path) -> Reopen:
        return partial(divided, tmp_path, Everybody())

    @pytest.fixture
    def overwrite(self, tmp_path: Path) -> Overwrite:
        return lambda key, body: overwrite_file(tmp_path / "private" / key, body)


def test_objects_of_a_private_tenant_are_not_in_the_public_store(tmp_path: Path) -> None:
    store = divided(tmp_path, {"films"})
    for tenant in ("books", "films"):
        store.put(f"{tenant}/a", b"a", PICTURE)
    assert (list(store.public.list("")), list(store.private.list(""))) == (["books/a"], ["films/a"])
    assert list(store.list("")) == ["books/a", "films/a"]


def test_an_object_that_is_still_public_is_found_withdrawn_and_erased(tmp_path: Path) -> None:
    hidden: set[str] = set()
    store = divided(tmp_path, hidden)
    for name in ("a", "b", "c"):
        store.put(f"films/{name}", name.encode(), PICTURE)
    hidden.add("films")
    store.put("films/d", b"d", PICTURE)
    before = store.head("films/a")
    store.withdraw("films/a")
    store.withdraw("films/a")
    assert [list(one.list("")) for one in (store.public, store.private)] == [
        ["films/b", "films/c"],
        ["films/a", "films/d"],
    ]
    found = store.head("films/a")
    assert found is not None
    assert before is not None
    assert (found.sha256, found.metadata) == (before.sha256, PICTURE)
    assert [store.get(key)[0] for key in store.list("films/")] == [b"a", b"b", b"c", b"d"]
    for key in ("films/a", "films/b"):
        path = store.local_path(key)
        assert path is not None
        assert path.read_bytes() == key[-1].encode()
        with store.as_file(key) as body, store.open(key) as opened:
            assert body.read_bytes() == b"".join(opened)
    store.delete("films/b")
    with pytest.raises(NoSuchObject):
        store.get("films/b")
    assert store.erase("films/") == 3
    assert list(store.list("")) == []


def test_the_private_object_wins_over_the_public_one(tmp_path: Path) -> None:
    hidden: set[str] = set()
    store = divided(tmp_path, hidden)
    store.put("films/a", b"old", PICTURE)
    hidden.add("films")
    store.put("films/a", b"new", PICTURE)
    assert list(store.list("")) == ["films/a"]
    store.withdraw("films/a")
    assert store.get("films/a")[0] == b"new"
    assert list(store.public.list("")) == []
