"""The decoder revision of each original."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0026"
down_revision: str | None = "0025"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_COMMENT = "part of the fingerprint; null: an earlier release looked at it"


# Not in a batch: on SQLite that copies the table, and dropping the old one deletes every row that refers to it.
def upgrade() -> None:
    op.add_column("originals", sa.Column("decode_revision", sa.SmallInteger(), comment=_COMMENT))


def downgrade() -> None:
    op.drop_column("originals", "decode_revision")
