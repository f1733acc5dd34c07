"""Originals to fetch."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "fetches",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("pack_id", sa.String(length=24), nullable=False),
        sa.Column("location", sa.String(length=63), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False, comment="1 interactive, 2 bulk"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("outages", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], name=op.f("fk_fetches_jobs"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "pack_id"], ["packs.tenant_id", "packs.id"], name=op.f("fk_fetches_packs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "pack_id", "location", name=op.f("pk_fetches")),
    )
    op.create_index(op.f("ix_fetches_priority_due_at"), "fetches", ["priority", "due_at"])
    op.create_index(op.f("ix_fetches_tenant_id_job_id"), "fetches", ["tenant_id", "job_id"])


def downgrade() -> None:
    op.drop_table("fetches")
