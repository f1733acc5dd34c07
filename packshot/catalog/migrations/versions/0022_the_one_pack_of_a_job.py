"""The only pack of a job, such as an edit's job."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0022"
down_revision: str | None = "0021"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEX = "ix_jobs_tenant_id_pack_id_created_at_id"


def upgrade() -> None:
    comment = "the one pack it is about; null: several"
    op.add_column("jobs", sa.Column("pack_id", sa.String(length=24), comment=comment))
    op.create_index(op.f(INDEX), "jobs", ["tenant_id", "pack_id", "created_at", "id"])


def downgrade() -> None:
    op.drop_index(op.f(INDEX), "jobs")
    with op.batch_alter_table("jobs") as batch:
        batch.drop_column("pack_id")
