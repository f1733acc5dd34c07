"""Migrate the database to the current schema, and check that it is current."""

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
    """Run every missing step up to `revision`, in one transaction."""
    with catalog.write_system() as tx:
        if not catalog.is_sqlite:
            # A step may take longer than the statements of a request may.
            tx.connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
            tx.connection.execute(sa.text("SET LOCAL lock_timeout = 0"))
            # If several processes start at once, one migrates and the others wait for it.
            tx.connection.execute(sa.text("SELECT pg_advisory_xact_lock(7225736107401)"))
        command.upgrade(_config(tx.connection), revision)


def downgrade(catalog: Catalog, revision: str) -> None:
    """Run the steps back to `revision`; "base" is the empty database."""
    with catalog.write_system() as tx:
        command.downgrade(_config(tx.connection), revision)


def check(catalog: Catalog) -> None:
    """Raise `alembic.util.CommandError` if the tables and the steps disagree."""
    with catalog.write_system() as tx:
        command.check(_config(tx.connection))


def is_current(catalog: Catalog) -> bool:
    """Return whether the database is at the newest step of this release, or at a step of a later release.

    This release works with the steps of a later one until its last process is restarted. So an upgrade needs no
    downtime; see docs/operating.md.
    """
    with catalog.read_system() as tx:
        at = MigrationContext.configure(tx.connection).get_current_revision()
    if at is None:
        return False
    steps = ScriptDirectory.from_config(_config(None))
    return at == steps.get_current_head() or at not in {step.revision for step in steps.walk_revisions()}


def new_step(catalog: Catalog, message: str) -> None:
    """Write the next step from the difference between tables and database. For developers."""
    with catalog.write_system() as tx:
        command.revision(_config(tx.connection), message, autogenerate=True)


def _config(connection: sa.Connection | None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent.parent / "migrations"))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


def _main() -> None:
    """`--check`: compare tables with steps, and run all steps both ways. `--new MESSAGE`: write the next step."""
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
