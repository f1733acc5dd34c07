"""Reasons of retries, and counts of consecutive unforeseen exceptions."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0023"
down_revision: str | None = "0022"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_FAULTS = "unforeseen exceptions in a row"
_REASON = "why the last attempt came to nothing; null: none has"
_TABLES = {"orders": "reason", "fetches": "reason", "erasures": "reason", "deliveries": "error"}


def upgrade() -> None:
    for table, reason in _TABLES.items():
        with op.batch_alter_table(table) as batch:
            batch.add_column(sa.Column("faults", sa.Integer(), server_default="0", nullable=False, comment=_FAULTS))
            batch.add_column(sa.Column(reason, sa.Text(), comment=_REASON))
    with op.batch_alter_table("purges") as batch:
        batch.add_column(sa.Column("faults", sa.Integer(), server_default="0", nullable=False, comment=_FAULTS))
    paused = "put off until due, rung for or not"
    with op.batch_alter_table("orders") as batch:
        batch.add_column(sa.Column("paused", sa.Boolean(), server_default=sa.false(), nullable=False, comment=paused))
    own = "unforeseen exceptions of its own in a row"
    with op.batch_alter_table("jobs") as batch:
        batch.add_column(sa.Column("faults", sa.Integer(), server_default="0", nullable=False, comment=own))
        batch.add_column(
            sa.Column("reason", sa.Text(), comment="why its own last step came to nothing; null: none has")
        )


def downgrade() -> None:
    with op.batch_alter_table("orders") as batch:
        batch.drop_column("paused")
    for table, reason in {**_TABLES, "purges": None, "jobs": "reason"}.items():
        with op.batch_alter_table(table) as batch:
            batch.drop_column("faults")
            if reason is not None:
                batch.drop_column(reason)
