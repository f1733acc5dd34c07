"""Waits for the database: each transaction has one limit, which does not add up over the transactions of a process."""

import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from packshot import availability
from packshot.catalog.database import postgres as limits
from packshot.catalog.database import transaction
from packshot.catalog.database.transaction import Catalog, DatabaseFault, is_database_away
from packshot.outages import OutageKind, recognise
from tests.servers.postgres import Postgres
from tests.support.admin import wait_for


@pytest.fixture
def catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Catalog]:
    """An SQLite database whose transactions wait for a fraction of a second."""
    for name, seconds in {"WAIT_SECONDS": 0.3, "PROBE_SECONDS": 60.0, "SLOW_SECONDS": 0.1}.items():
        monkeypatch.setattr(transaction, name, seconds)
    monkeypatch.setattr(availability, "OTHERS_SECONDS", 0.0)
    catalog = Catalog(f"sqlite:///{tmp_path / 'packshot.db'}")
    write(catalog)
    yield catalog
    catalog.close()


@pytest.fixture
def postgres_catalog(postgres: Postgres) -> Iterator[Catalog]:
    with postgres.database() as url:
        catalog = Catalog(url, connections=2)
        yield catalog
        catalog.close()


def write(catalog: Catalog) -> None:
    with catalog.write_system() as tx:
        tx.connection.execute(sa.text("CREATE TABLE IF NOT EXISTS notes (text)"))


def read(catalog: Catalog) -> None:
    with catalog.read_system() as tx:
        tx.connection.execute(sa.text("SELECT 1"))


@contextmanager
def locked(catalog: Catalog) -> Iterator[sqlite3.Connection]:
    """Lock the database as another process would, until the connection rolls back."""
    with closing(sqlite3.connect(str(catalog.url.database), isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield other


@contextmanager
def stopped(catalog: Catalog) -> Iterator[None]:
    """Stop the PostgreSQL process that serves the only connection of the pool."""
    with catalog.read_system() as tx:
        pid = tx.connection.scalar(sa.text("SELECT pg_backend_pid()"))
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_writers_beside_a_lock_of_another_process_fail_while_one_tries_again(catalog: Catalog) -> None:
    began = threading.Event()
    with locked(catalog) as other:
        with pytest.raises(DatabaseFault) as raised:
            write(catalog)
        assert is_database_away(raised.value)
        found = recognise(raised.value)
        assert found is not None
        assert found.kind is OutageKind.BUSY

        def try_again() -> None:
            began.set()
            write(catalog)

        trying = threading.Thread(target=try_again)
        trying.start()
        began.wait(10)
        wait_for(lambda: catalog._writable._probe_began is not None)
        for _ in range(50):
            with pytest.raises(DatabaseFault):
                write(catalog)
            read(catalog)
        assert trying.is_alive()
        other.execute("ROLLBACK")
        trying.join(30)
    write(catalog)


def test_writers_and_edits_wait_no_longer_for_a_transaction_of_their_own_process(catalog: Catalog) -> None:
    with catalog.write_system():
        for begin in (catalog.write, catalog.edit):
            catalog._writable._set(None)
            with pytest.raises(DatabaseFault) as raised, begin("acme"):
                pytest.fail("two writers at a time")
            assert is_database_away(raised.value)
        read(catalog)
    write(catalog)


def test_edits_that_are_held_for_long_fail_instead_of_waiting_for_ever(catalog: Catalog) -> None:
    let_go = threading.Event()
    held = threading.Event()

    def is_calm() -> bool:
        held.set()
        return let_go.is_set()

    def hold() -> None:
        with catalog.hold_edits("acme", is_calm, 60.0):
            pass

    holding = threading.Thread(target=hold)
    holding.start()
    held.wait(10)
    with pytest.raises(DatabaseFault), catalog.edit("acme"):
        pytest.fail("edits are held")
    let_go.set()
    holding.join(30)
    with catalog.edit("acme"):
        pass


def test_a_server_that_falls_silent_within_a_transaction_ends_it(
    postgres_catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_pids: list[int] = []

    def ask_twice() -> None:
        with postgres_catalog.read_system() as tx:
            stopped_pids.append(tx.connection.scalar(sa.text("SELECT pg_backend_pid()")) or 0)
            monkeypatch.setattr(tx.connection.connection.driver_connection, "patience", 0.2)
            os.kill(stopped_pids[0], signal.SIGSTOP)
            tx.connection.execute(sa.text("SELECT 1"))

    try:
        with pytest.raises(DatabaseFault, match=r"has not answered for 0\.2 seconds") as raised:
            ask_twice()
        assert is_database_away(raised.value)
        assert raised.value.connection_invalidated
        read(postgres_catalog)
    finally:
        os.kill(stopped_pids[0], signal.SIGCONT)


def test_a_connection_that_fell_silent_is_replaced_before_it_is_used(
    postgres_catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PING_SECONDS", 0.2)
    with stopped(postgres_catalog):
        read(postgres_catalog)
        with postgres_catalog.write_system() as tx:
            assert tx.connection.scalar(sa.text("SELECT 1")) == 1


def test_a_pool_that_is_used_up_is_an_outage_of_the_database(
    postgres_catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_catalog.engine.pool, "_timeout", 0.2)
    with postgres_catalog.read_system(), postgres_catalog.read_system():
        with pytest.raises(DatabaseFault) as raised:
            read(postgres_catalog)
        assert is_database_away(raised.value)
    read(postgres_catalog)
