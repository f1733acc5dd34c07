"""Epochs, deletions and sequence numbers of locations, for clients that follow the change feed."""

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision: str = "0019"
down_revision: str | None = "0018"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    epochs = op.create_table(
        "epochs",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epoch", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_epochs")),
    )
    first = {"number": 1, "epoch": secrets.token_hex(8), "reason": "the database was made", "began_at": _now()}
    op.bulk_insert(epochs, [first])
    op.create_table(
        "deletions",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("subject", sa.String(length=16), nullable=False, comment="pack or location"),
        sa.Column("id", sa.String(length=63), nullable=False, comment="of a location its name"),
        sa.Column("sequence_number", sa.BigInteger(), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("asset_id", sa.BigInteger(), nullable=True),
        sa.Column("erased", sa.Boolean(), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_deletions_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "subject", "id", name=op.f("pk_deletions")),
    )
    op.create_index(op.f("ix_deletions_deleted_at"), "deletions", ["deleted_at"])
    op.create_index(op.f("ix_deletions_tenant_id_sequence_number"), "deletions", ["tenant_id", "sequence_number"])
    op.add_column(
        "sequences",
        sa.Column(
            "forgotten",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="deletions up to it may be forgotten",
        ),
    )
    op.add_column(
        "sequences",
        sa.Column(
            "marked",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="up to which it may be marked outside the database",
        ),
    )
    op.add_column(
        "locations",
        sa.Column(
            "sequence_number",
            sa.BigInteger(),
            server_default="0",
            nullable=False,
            comment="of the last change that is live",
        ),
    )
    op.create_index(op.f("ix_locations_tenant_id_sequence_number"), "locations", ["tenant_id", "sequence_number"])


def downgrade() -> None:
    op.drop_index(op.f("ix_locations_tenant_id_sequence_number"), table_name="locations")
    op.drop_column("locations", "sequence_number")
    op.drop_column("sequences", "marked")
    op.drop_column("sequences", "forgotten")
    op.drop_table("deletions")
    op.drop_table("epochs")


def _now() -> datetime:
    return datetime.now(UTC)
