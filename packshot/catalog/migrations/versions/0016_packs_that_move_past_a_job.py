"""Packs that an edit moves past a job's cursor before the job visits them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0016"
down_revision: str | None = "0015"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "job_strays",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("pack_id", sa.String(length=24), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.id"],
            name=op.f("fk_job_strays_jobs"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "pack_id"],
            ["packs.tenant_id", "packs.id"],
            name=op.f("fk_job_strays_packs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "pack_id", name=op.f("pk_job_strays")),
    )
    op.create_index(op.f("ix_job_strays_tenant_id_pack_id"), "job_strays", ["tenant_id", "pack_id"])


def downgrade() -> None:
    op.drop_table("job_strays")
