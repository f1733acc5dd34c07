"""The JPEG quality of originals, and tenants that keep credits."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


# Column by column, because on SQLite a batch copies the tables, and dropping the old ones deletes every row that refers
# to them.
def upgrade() -> None:
    op.add_column(
        "originals",
        sa.Column("quality", sa.SmallInteger(), nullable=True, comment="1 to 100, of a JPEG; null: not known"),
    )
    op.add_column("tenants", sa.Column("keep_credits", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:
    op.drop_column("tenants", "keep_credits")
    op.drop_column("originals", "quality")
