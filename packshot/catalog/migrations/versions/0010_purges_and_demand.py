"""Purges, and demand for unplanned variants."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_QUEUED = sa.text("state = 'queued'")
_OPEN = sa.text("finished_at IS NULL")


def upgrade() -> None:
    op.create_table(
        "purges",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False, comment="what is purged, for people"),
        sa.Column("cause", sa.Text(), nullable=False, comment="why, for people"),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("tags_sha256", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False, comment="1: the first purge, 2: the one after it"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("outages", sa.Integer(), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "sent_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when this round's purge was taken; null: it is still to be sent",
        ),
        sa.Column("first_done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_purges_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_purges")),
    )
    op.create_index(op.f("ix_purges_tenant_id_requested_at_id"), "purges", ["tenant_id", "requested_at", "id"])
    op.create_index(
        "uq_purges_queued",
        "purges",
        ["tenant_id", "tags_sha256"],
        unique=True,
        sqlite_where=_QUEUED,
        postgresql_where=_QUEUED,
    )
    op.create_index("ix_purges_due", "purges", ["due_at"], sqlite_where=_OPEN, postgresql_where=_OPEN)
    op.create_table(
        "demand",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("location", sa.String(length=63), nullable=False),
        sa.Column("format", sa.String(length=8), nullable=False, comment="what was drawn"),
        sa.Column("request", sa.Text(), nullable=False, comment="the request form without its location"),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("last_requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "location", "format", "request", name=op.f("pk_demand")),
    )


def downgrade() -> None:
    op.drop_table("demand")
    op.drop_table("purges")
