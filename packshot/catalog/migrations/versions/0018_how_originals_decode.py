"""The decoding costs of each original, and why decoding was last refused."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0018"
down_revision: str | None = "0017"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


# Column by column, because on SQLite a batch copies the table, and dropping the old one deletes every row that refers
# to it.
def upgrade() -> None:
    op.add_column(
        "originals",
        sa.Column("decoding_seconds", sa.Double(), comment="CPU time of decoding all frames; null: not measured"),
    )
    op.add_column(
        "originals",
        sa.Column("failure", sa.JSON(), comment="why decoding was last refused; null: it was not"),
    )
    op.add_column("originals", sa.Column("failed_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("originals", "failed_at")
    op.drop_column("originals", "failure")
    op.drop_column("originals", "decoding_seconds")
