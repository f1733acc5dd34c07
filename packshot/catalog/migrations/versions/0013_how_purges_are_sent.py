"""Purge batches, purges of erased packs, and the age of variants."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_SHOWN = sa.text("superseded_at IS NULL AND rendered_at IS NOT NULL")


# Column by column, not in a batch: see 0003.
def upgrade() -> None:
    forbidden = "must not be shown again"
    op.add_column(
        "purges", sa.Column("erasing", sa.Boolean(), nullable=False, server_default=sa.false(), comment=forbidden)
    )
    job = "of which it is all; null: it was not asked for by itself"
    op.add_column("purges", sa.Column("job_id", sa.String(length=32), nullable=True, comment=job))
    company = "what it is sent with; null: not decided"
    op.add_column("purges", sa.Column("batch", sa.String(length=32), nullable=True, comment=company))
    op.create_index(
        "ix_variants_rendered",
        "variants",
        ["tenant_id", "rendered_at", "pack_id"],
        sqlite_where=_SHOWN,
        postgresql_where=_SHOWN,
    )


def downgrade() -> None:
    op.drop_index("ix_variants_rendered", table_name="variants", sqlite_where=_SHOWN, postgresql_where=_SHOWN)
    op.drop_column("purges", "batch")
    op.drop_column("purges", "job_id")
    op.drop_column("purges", "erasing")
