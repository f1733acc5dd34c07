"""The collection of superseded variants, and erasures."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_UNUSED = sa.text("unused_since IS NOT NULL")
_SUPERSEDED = sa.text("superseded_at IS NOT NULL")
_COLLECTING = sa.text("state = 'collecting'")


def upgrade() -> None:
    unused_since = sa.Column(
        "unused_since", sa.DateTime(timezone=True), nullable=True, comment="null while a pack location shows it"
    )
    op.add_column("originals", unused_since)
    op.create_index(
        "ix_originals_unused", "originals", ["unused_since"], sqlite_where=_UNUSED, postgresql_where=_UNUSED
    )
    op.create_table(
        "pack_originals",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("pack_id", sa.String(length=24), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "sha256"],
            ["originals.tenant_id", "originals.sha256"],
            name=op.f("fk_pack_originals_originals"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "pack_id", "sha256", name=op.f("pk_pack_originals")),
    )
    op.create_index(op.f("ix_pack_originals_tenant_id_sha256"), "pack_originals", ["tenant_id", "sha256"])
    op.execute(
        "INSERT INTO pack_originals (tenant_id, pack_id, sha256) "
        "SELECT DISTINCT tenant_id, pack_id, original_sha256 FROM pack_locations WHERE original_sha256 IS NOT NULL"
    )
    op.create_index(
        "ix_variants_superseded", "variants", ["superseded_at"], sqlite_where=_SUPERSEDED, postgresql_where=_SUPERSEDED
    )
    op.create_index(
        "ix_variants_collecting", "variants", ["tenant_id"], sqlite_where=_COLLECTING, postgresql_where=_COLLECTING
    )
    op.create_table(
        "tombstones",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("pack_id", sa.String(length=24), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("erased_by", sa.Text(), nullable=False),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "pack_id", name=op.f("pk_tombstones")),
    )
    op.create_table(
        "erasures",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("pack_id", sa.String(length=24), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("originals", sa.JSON(), nullable=False, comment="sha256 of every original that the pack ever showed"),
        sa.Column("passes", sa.SmallInteger(), nullable=False, comment="how often all of it was erased"),
        sa.Column("outages", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], name=op.f("fk_erasures_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "pack_id", name=op.f("pk_erasures")),
    )
    op.create_index(op.f("ix_erasures_due_at"), "erasures", ["due_at"])
    op.create_index(op.f("ix_erasures_tenant_id_job_id"), "erasures", ["tenant_id", "job_id"])


def downgrade() -> None:
    op.drop_table("erasures")
    op.drop_table("tombstones")
    op.drop_index("ix_variants_collecting", table_name="variants")
    op.drop_index("ix_variants_superseded", table_name="variants")
    op.drop_table("pack_originals")
    op.drop_index("ix_originals_unused", table_name="originals")
    op.drop_column("originals", "unused_since")
