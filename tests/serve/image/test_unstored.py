"""Images are served even if they cannot be stored, because the disk is full or the database is locked."""

import errno
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from packshot.catalog.database import transaction
from packshot.storage.folder import FolderStore
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground

BRIEF = "public, max-age=60"


@pytest.fixture
def database_url() -> None:
    """SQLite, which another process can lock."""


@pytest.fixture
def pack_id(playground: Playground) -> str:
    pack_id = playground.pack(picture=photo(320, 240))
    playground.run_jobs()
    return pack_id


@contextmanager
def locked(playground: Playground, patched: pytest.MonkeyPatch) -> Iterator[None]:
    """Let another process hold the write lock of the database."""
    patched.setattr(transaction, "WAIT_SECONDS", 0.1)
    with closing(sqlite3.connect(str(playground.site.catalog.url.database), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def full(_: Playground, patched: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every store be full."""

    def put(_: FolderStore, key: str, body: bytes | Path, metadata: object) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", key)

    with patched.context() as within:
        within.setattr(FolderStore, "put", put)
        yield


@pytest.mark.parametrize("trouble", [locked, full])
def test_an_image_that_cannot_be_stored_is_served_and_cached_briefly(
    client: TestClient,
    playground: Playground,
    pack_id: str,
    monkeypatch: pytest.MonkeyPatch,
    trouble: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    stable = f"/api/v2/img/{pack_id}?width=111&format=png"
    before = set(playground.site.variants.list(f"{TENANT}/"))
    with trouble(playground, monkeypatch):
        first = client.get(stable)
        assert (first.status_code, first.headers["Cache-Control"]) == (200, BRIEF)
        immutable = client.get(first.headers["Content-Location"])
        assert (immutable.status_code, immutable.headers["Cache-Control"]) == (200, BRIEF)
        assert immutable.content == first.content
        assert client.get(stable, headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
        assert set(playground.site.variants.list(f"{TENANT}/")) == before
    assert "could not be" in caplog.text
    stored = client.get(stable)
    assert (stored.status_code, stored.content) == (200, first.content)
    assert stored.headers["Cache-Control"] != BRIEF
    assert len(set(playground.site.variants.list(f"{TENANT}/")) - before) == 1


def test_a_stored_variant_without_a_finished_row_is_served(
    client: TestClient, playground: Playground, pack_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise sa.exc.OperationalError("UPDATE", {}, _full())

    with monkeypatch.context() as patched:
        patched.setattr("serve.image.fallback.ledger.record", refuse)
        first = client.get(f"/api/v2/img/{pack_id}?width=111&format=png")
    assert first.status_code == 200
    assert first.headers["Cache-Control"] != BRIEF
    assert client.get(f"/api/v2/img/{pack_id}?width=111&format=png").content == first.content


def test_a_fault_while_recording_a_variant_is_not_treated_as_an_outage(
    client: TestClient, pack_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: Any) -> None:
        raise LookupError("unforeseen")

    monkeypatch.setattr("serve.image.fallback.ledger.record", stumble)
    assert client.get(f"/api/v2/img/{pack_id}?width=111&format=png").status_code == 500


def _full() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    return error
