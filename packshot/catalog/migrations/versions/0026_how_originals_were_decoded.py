"""Which change of the decoder each original's pixels depend on."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0026"
down_revision: str | None = "0025"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_COMMENT = "part of the fingerprint; null: an earlier release looked at it"


# Not in a batch: on SQLite that would copy the table, and dropping the old one
# would take every row along that refers to it.
def upgrade() -> None:
    op.add_column("originals", sa.Column("decode_revision", sa.SmallInteger(), comment=_COMMENT))


def downgrade() -> None:
    op.drop_column("originals", "decode_revision")
