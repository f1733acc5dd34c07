"""The on-demand policy of tenants, and budgets for unplanned variants."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0021"
down_revision: str | None = "0020"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_SQLITE, _POSTGRESQL = sa.text("planned = 0"), sa.text("NOT planned")


def upgrade() -> None:
    op.add_column(
        "tenants",
        sa.Column(
            "on_demand",
            sa.String(length=16),
            server_default="any",
            nullable=False,
            comment="which variants besides the planned ones clients can have",
        ),
    )
    op.add_column(
        "tenants",
        sa.Column(
            "unplanned_bytes",
            sa.BigInteger(),
            nullable=True,
            comment="most bytes of such variants; null: as the installation says",
        ),
    )
    op.add_column(
        "variants",
        sa.Column(
            "requested_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when an unplanned one was last asked for, to the hour",
        ),
    )
    op.execute("UPDATE variants SET requested_at = coalesce(rendered_at, created_at) WHERE NOT planned")
    op.create_index(
        "ix_variants_requested",
        "variants",
        ["tenant_id", "requested_at", "bytes"],
        sqlite_where=_SQLITE,
        postgresql_where=_POSTGRESQL,
    )
    op.create_table(
        "unplanned_usage",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=True, comment="null: never"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_unplanned_usage_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_unplanned_usage")),
    )
    op.create_table(
        "crowded",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("pack_id", sa.String(length=24), nullable=False),
        sa.Column("location", sa.String(length=63), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "pack_id", "location", name=op.f("pk_crowded")),
    )


def downgrade() -> None:
    op.drop_table("crowded")
    op.drop_table("unplanned_usage")
    op.drop_index("ix_variants_requested", "variants")
    op.drop_column("variants", "requested_at")
    op.drop_column("tenants", "unplanned_bytes")
    op.drop_column("tenants", "on_demand")
