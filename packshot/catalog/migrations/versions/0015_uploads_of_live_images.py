"""Uploads for live resize images."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


# Column by column, not in a batch: see 0003.
def upgrade() -> None:
    comment = "the live image it is bound to; null: none, it was announced by GraphQL"
    op.add_column("uploads", sa.Column("image_id", sa.String(length=255), nullable=True, comment=comment))


def downgrade() -> None:
    op.drop_column("uploads", "image_id")
