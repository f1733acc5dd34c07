"""The database behind PgBouncer: limits hold in every transaction and reach no other client."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
import sqlalchemy as sa

from packshot.catalog.configuration import tenants
from packshot.catalog.database import migrate
from packshot.catalog.database.transaction import Catalog
from tests.servers.pgbouncer import PROGRAM, pgbouncer
from tests.servers.postgres import Postgres

LIMITS = {"statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "1min"}
needs_pgbouncer = pytest.mark.skipif(PROGRAM is None, reason="needs Debian's pgbouncer")
WAYS = {
    "session": ("session", ""),
    "transaction": ("transaction", ""),
    "ignored": ("transaction", "ignore_startup_parameters = options\n"),
}


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def through(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[str]:
    """The URL of a new database through PgBouncer."""
    mode, more = request.param
    with postgres.database() as url, pgbouncer(url, mode=mode, more=more) as through:
        yield through


def limits(connection: sa.Connection) -> dict[str, str]:
    return {name: connection.exec_driver_sql(f"SHOW {name}").scalar_one() for name in LIMITS}


@needs_pgbouncer
def test_every_transaction_has_its_limits_and_leaves_none_to_other_clients(through: str) -> None:
    other_client = sa.create_engine(through, poolclass=sa.NullPool)
    with closing(Catalog(through)) as catalog:
        with catalog.read_system() as tx:
            assert limits(tx.connection) == LIMITS
        with catalog.write_system() as tx:
            assert limits(tx.connection) == LIMITS
        for _ in range(3):
            with other_client.connect() as connection:
                assert limits(connection) == dict.fromkeys(LIMITS, "0")


@needs_pgbouncer
def test_limits_that_the_database_has_itself_do_not_hide_a_pooler(postgres: Postgres) -> None:
    with (
        postgres.database() as url,
        pgbouncer(url, mode="transaction", more="ignore_startup_parameters = options\n") as through,
    ):
        owner = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        with owner.connect() as connection:
            for name in LIMITS:
                connection.exec_driver_sql(f"ALTER DATABASE \"{sa.make_url(url).database}\" SET {name} = '1h'")
        with closing(Catalog(through)) as catalog, catalog.read_system() as tx:
            assert limits(tx.connection) == LIMITS


@needs_pgbouncer
def test_many_transactions_share_few_connections(through: str) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(12):
                name = f"t-{number}-{turn}"
                with catalog.write(name) as tx:
                    tenants.ensure_tenant(tx)
                with catalog.read(name) as tx:
                    assert tenants.get_tenant(tx) is not None
        except BaseException as error:  # noqa: BLE001 - shown below
            failures.append(error)

    with closing(Catalog(through)) as catalog:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


@needs_pgbouncer
def test_processes_that_repeat_a_statement_use_the_same_connections(postgres: Postgres) -> None:
    with postgres.database() as url, pgbouncer(url, mode="transaction") as through:
        for _ in range(2):
            with closing(Catalog(through)) as catalog:
                # More often than the driver runs a statement before it prepares it, under a name that another
                # connection uses too.
                for _ in range(8):
                    with catalog.write_system() as tx:
                        assert tenants.list_tenants(tx) == []


@needs_pgbouncer
def test_migrations_run_through_it(postgres: Postgres) -> None:
    with (
        postgres.database(migrated=False) as url,
        pgbouncer(url, mode="transaction") as through,
        closing(Catalog(through)) as catalog,
    ):
        migrate.upgrade(catalog)
        assert migrate.is_current(catalog)


def test_without_a_pooler_the_session_has_the_limits_and_transactions_set_nothing(postgres: Postgres) -> None:
    statements: list[str] = []
    with postgres.database() as url:
        with closing(Catalog(url)) as catalog:

            @sa.event.listens_for(catalog.engine, "before_cursor_execute")
            def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
                statements.append(statement)

            with catalog.write_system() as tx:
                assert limits(tx.connection) == LIMITS
        assert not [text for text in statements if text.startswith("SET")]
        # Options of the URL take precedence.
        with closing(Catalog(f"{url}&options=-c%20lock_timeout%3D3000")) as catalog, catalog.read_system() as tx:
            assert limits(tx.connection) == LIMITS | {"lock_timeout": "3s"}
        with closing(Catalog(f"{url}&options=-c%20statement_timeout%3D0")) as catalog, catalog.read_system() as tx:
            assert limits(tx.connection) == LIMITS | {"statement_timeout": "0"}
