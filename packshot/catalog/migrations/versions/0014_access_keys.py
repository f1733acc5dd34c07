"""Access keys, and tenants that require them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


# Column by column, not in a batch: see 0003.
def upgrade() -> None:
    for name, comment in (
        ("keys_required", "its pictures are shown only to who has an access key"),
        ("private", "its blobs are kept where no CDN looks"),
    ):
        op.add_column(
            "tenants", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false(), comment=comment)
        )
    op.create_table(
        "access_keys",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False, comment="of the secret, to find it when it is shown"),
        sa.Column(
            "sealed", sa.LargeBinary(), nullable=False, comment="the secret, encrypted; empty when it is revoked"
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_access_keys_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_access_keys")),
    )


def downgrade() -> None:
    op.drop_table("access_keys")
    for name in ("keys_required", "private"):
        op.drop_column("tenants", name)
