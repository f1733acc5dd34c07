"""What is away, full or read-only is told apart, by the exceptions that the real thing raises."""

import errno
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from packshot.catalog.database import migrate
from packshot.catalog.database.transaction import Catalog, DatabaseFault
from packshot.catalog.work.worker_state import check_write
from packshot.faults import FaultLog
from packshot.outages import OutageKind, explain_outage, is_understood, recognise


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = Catalog(f"sqlite:///{tmp_path}/packshot.db")
    migrate.upgrade(catalog)
    return catalog


def _write(catalog: Catalog, *pragmas: str) -> Exception:
    """Write much under those pragmas, and return what that raises."""
    with catalog.engine.connect() as connection:
        for pragma in pragmas:
            connection.exec_driver_sql(f"PRAGMA {pragma}")
        with pytest.raises(DatabaseFault) as raised:
            connection.exec_driver_sql("CREATE TABLE filler AS SELECT zeroblob(1000000)")
    return raised.value


def test_a_full_and_a_read_only_database_are_known_and_need_no_traceback(
    catalog: Catalog, caplog: pytest.LogCaptureFixture
) -> None:
    full, read_only = _write(catalog, "max_page_count=1"), _write(catalog, "query_only=ON")
    assert explain_outage(full) == "no space is left to write"
    assert explain_outage(read_only) == "the database is read-only"
    log = FaultLog()
    log.record(logging.getLogger("test"), full, "an edit failed")
    assert "database or disk is full" in caplog.text
    assert "Traceback" not in caplog.text


def test_a_statement_that_is_wrong_is_no_outage(catalog: Catalog) -> None:
    with pytest.raises(DatabaseFault) as raised, catalog.engine.connect() as connection:
        connection.exec_driver_sql("SELECT nothing FROM nowhere")
    assert explain_outage(raised.value) is None


def test_a_damaged_database_file_is_known(tmp_path: Path) -> None:
    (tmp_path / "packshot.db").write_bytes(b"no database" * 1000)
    damaged = Catalog(f"sqlite:///{tmp_path}/packshot.db")
    with pytest.raises(DatabaseFault) as raised, damaged.write_system() as tx:
        check_write(tx, "token")
    found = recognise(raised.value)
    assert found is not None
    assert found.kind is OutageKind.DAMAGED


@pytest.mark.parametrize(
    ("number", "kind", "clause"),
    [
        (errno.ENOSPC, OutageKind.STORAGE_FULL, "no space is left to write"),
        (errno.EDQUOT, OutageKind.STORAGE_FULL, "no space is left to write"),
        (errno.EROFS, OutageKind.READ_ONLY, "the store is read-only"),
        (errno.EACCES, OutageKind.NO_RIGHTS, "a store or another service does not answer"),
        (errno.EMFILE, OutageKind.BUSY, "a store or another service does not answer"),
    ],
)
def test_faults_of_disks_are_known_however_deep_they_are(number: int, kind: OutageKind, clause: str) -> None:
    outer = RuntimeError("wrapped")
    outer.__cause__ = OSError(number, "secret path")
    found = recognise(outer)
    assert found is not None
    assert (found.kind, explain_outage(outer)) == (kind, clause)
    assert is_understood(outer) is (kind in (OutageKind.STORAGE_FULL, OutageKind.READ_ONLY))


@pytest.mark.parametrize(
    ("state", "make", "reason"),
    [
        ("53100", sa.exc.OperationalError, "no space is left to write"),
        ("53300", sa.exc.OperationalError, "too many connections are open"),
        ("25006", sa.exc.InternalError, "read-only"),
        ("28P01", sa.exc.OperationalError, "refuses the user or the password"),
        ("57P03", sa.exc.OperationalError, "starting or shutting down"),
        (None, sa.exc.OperationalError, "does not answer"),
    ],
)
def test_states_of_postgresql_are_known(state: str | None, make: Callable[..., DatabaseFault], reason: str) -> None:
    fault = make("SELECT", None, SimpleNamespace(sqlstate=state))
    found = recognise(fault)
    assert found is not None
    assert found.reason == reason
