"""Which purges are sent together, and which are of what was erased."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


# Column by column, not in a batch: see 0003.
def upgrade() -> None:
    forbidden = "must not be shown again"
    op.add_column(
        "purges", sa.Column("erasing", sa.Boolean(), nullable=False, server_default=sa.false(), comment=forbidden)
    )
    company = "what it is sent with; null: not decided"
    op.add_column("purges", sa.Column("batch", sa.String(length=32), nullable=True, comment=company))


def downgrade() -> None:
    op.drop_column("purges", "batch")
    op.drop_column("purges", "erasing")
