"""How uploads are sent."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("uploads") as table:
        table.add_column(
            sa.Column("method", sa.String(length=16), comment="how the bytes are sent; null: with a one-time token")
        )


def downgrade() -> None:
    with op.batch_alter_table("uploads") as table:
        table.drop_column("method")
