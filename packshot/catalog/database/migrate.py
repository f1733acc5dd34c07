"""Bringing the database to the current schema, and checking that it is there."""

import sys
import tempfile
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from packshot.catalog.database.transaction import Catalog


def upgrade(catalog: Catalog, revision: str = "head") -> None:
    """Run every missing step up to `revision`, all or none."""
    with catalog.write_system() as tx:
        if not catalog.is_sqlite:
            # A step may take longer than any statement of a request.
            tx.connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            tx.connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
            # Of processes that start together one migrates, and the others find it done.
            tx.connection.execute(sa.text("SELECT pg_advisory_xact_lock(7225736107401)"))
        command.upgrade(_config(tx.connection), revision)


def downgrade(catalog: Catalog, revision: str) -> None:
    """Run steps back to `revision`; "base" is the empty database."""
    with catalog.write_system() as tx:
        command.downgrade(_config(tx.connection), revision)


def check(catalog: Catalog) -> None:
    """Raise `alembic.util.CommandError` if the tables and the history disagree."""
    with catalog.write_system() as tx:
        command.check(_config(tx.connection))


def is_current(catalog: Catalog) -> bool:
    """Whether the database is at this release's newest step, or at one of a later release.

    A later release's steps leave this one working until the last process has
    been restarted, so that an upgrade needs no downtime (docs/operating.md).
    """
    with catalog.read_system() as tx:
        at = MigrationContext.configure(tx.connection).get_current_revision()
    if at is None:
        return False
    steps = ScriptDirectory.from_config(_config(None))
    return at == steps.get_current_head() or at not in {step.revision for step in steps.walk_revisions()}


def new_step(catalog: Catalog, message: str) -> None:
    """Write the next step from the difference between tables and database; for developers."""
    with catalog.write_system() as tx:
        command.revision(_config(tx.connection), message, autogenerate=True)


def _config(connection: sa.Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


def _main() -> None:
    """`--check`: tables and history agree, and every step goes both ways. `--new MESSAGE`: write the next step."""
    with tempfile.TemporaryDirectory() as folder:
        catalog = Catalog(f"sqlite:///{folder}/check.db")
        upgrade(catalog)
        if sys.argv[1] == "--new":
            new_step(catalog, sys.argv[2])
        else:
            check(catalog)
            downgrade(catalog, "base")
            upgrade(catalog)
        catalog.close()


if __name__ == "__main__":
    _main()
