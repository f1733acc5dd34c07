"""the first tables."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "tenants",
        sa.Column("id", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("resize_gravity", sa.String(length=16), nullable=False),
        sa.Column("include_all", sa.Boolean(), nullable=False),
        sa.Column("format_policy", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenants")),
    )
    op.create_table(
        "variants",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("pack_id", sa.String(length=24), nullable=False),
        sa.Column("location", sa.String(length=63), nullable=False),
        sa.Column("fingerprint", sa.String(length=24), nullable=False),
        sa.Column("plan", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("planned", sa.Boolean(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error_code", sa.String(length=32), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rendered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("superseded_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("tenant_id", "pack_id", "location", "fingerprint", "plan", name=op.f("pk_variants")),
    )
    op.create_table(
        "jobs",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column(
            "location",
            sa.String(length=63),
            nullable=True,
            comment="the job counts the variants of this location; null: of all",
        ),
        sa.Column("verify", sa.Boolean(), nullable=False),
        sa.Column(
            "cursor",
            sa.BigInteger(),
            nullable=True,
            comment="packs below this sequence number are still to be admitted; null: none",
        ),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("skipped", sa.BigInteger(), nullable=False),
        sa.Column("failed", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_jobs_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_jobs")),
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(
            "ix_jobs_open",
            ["created_at"],
            unique=False,
            sqlite_where=sa.text("finished_at IS NULL"),
            postgresql_where=sa.text("finished_at IS NULL"),
        )
        batch_op.create_index(
            batch_op.f("ix_jobs_tenant_id_created_at_id"), ["tenant_id", "created_at", "id"], unique=False
        )

    op.create_table(
        "locations",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False, comment="the live row of location_versions"),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_locations_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "name", name=op.f("pk_locations")),
    )
    op.create_table(
        "originals",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("format", sa.String(length=16), nullable=False),
        sa.Column("alpha", sa.Boolean(), nullable=False),
        sa.Column("frames", sa.Integer(), nullable=False),
        sa.Column("thumbhash", sa.String(length=64), nullable=True),
        sa.Column("dominant_color", sa.String(length=7), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_originals_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "sha256", name=op.f("pk_originals")),
    )
    op.create_table(
        "packs",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=24), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sequence_number", sa.BigInteger(), nullable=False),
        sa.Column("asset_id", sa.BigInteger(), nullable=True),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("main_location", sa.String(length=63), nullable=True),
        sa.Column("resize_gravity", sa.String(length=16), nullable=True),
        sa.Column("include_all", sa.String(length=8), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_packs_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_packs")),
        sa.UniqueConstraint("tenant_id", "asset_id", name=op.f("uq_packs_tenant_id_asset_id")),
        sa.UniqueConstraint("tenant_id", "external_id", name=op.f("uq_packs_tenant_id_external_id")),
    )
    with op.batch_alter_table("packs", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_packs_tenant_id_created_at_id"), ["tenant_id", "created_at", "id"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_packs_tenant_id_modified_at_id"), ["tenant_id", "modified_at", "id"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_packs_tenant_id_sequence_number"), ["tenant_id", "sequence_number"], unique=False
        )

    op.create_table(
        "sequences",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_sequences_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_sequences")),
    )
    op.create_table(
        "uploads",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("token_sha256", sa.String(length=64), nullable=False),
        sa.Column("media_type", sa.String(length=127), nullable=False),
        sa.Column("max_bytes", sa.BigInteger(), nullable=False),
        sa.Column("expected_sha256", sa.String(length=64), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f("fk_uploads_tenants")),
        sa.PrimaryKeyConstraint("tenant_id", "id", name=op.f("pk_uploads")),
    )
    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_uploads_expires_at"), ["expires_at"], unique=False)

    op.create_table(
        "job_failures",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("pack_id", sa.String(length=24), nullable=False),
        sa.Column("location", sa.String(length=63), nullable=False),
        sa.Column("code", sa.String(length=32), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"],
            ["jobs.tenant_id", "jobs.id"],
            name=op.f("fk_job_failures_jobs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "pack_id", "location", name=op.f("pk_job_failures")),
    )
    op.create_table(
        "job_items",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("pack_id", sa.String(length=24), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], name=op.f("fk_job_items_jobs"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "pack_id"],
            ["packs.tenant_id", "packs.id"],
            name=op.f("fk_job_items_packs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "job_id", "pack_id", name=op.f("pk_job_items")),
    )
    with op.batch_alter_table("job_items", schema=None) as batch_op:
        batch_op.create_index(
            "ix_job_items_open_job",
            ["tenant_id", "job_id"],
            unique=False,
            sqlite_where=sa.text("finished_at IS NULL"),
            postgresql_where=sa.text("finished_at IS NULL"),
        )
        batch_op.create_index(
            "ix_job_items_open_pack",
            ["tenant_id", "pack_id"],
            unique=False,
            sqlite_where=sa.text("finished_at IS NULL"),
            postgresql_where=sa.text("finished_at IS NULL"),
        )

    op.create_table(
        "location_versions",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("fallback", sa.String(length=63), nullable=True),
        sa.Column("resize_gravity", sa.String(length=16), nullable=True),
        sa.Column("include_all", sa.String(length=8), nullable=False),
        sa.Column("allow_upscale", sa.Boolean(), nullable=False),
        sa.Column("renditions", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("formats", sa.JSON(none_as_null=True), nullable=True),
        sa.Column(
            "active_from",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="null while a candidate is being prepared",
        ),
        sa.Column("active_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("changed_by", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant_id", "name"],
            ["locations.tenant_id", "locations.name"],
            name=op.f("fk_location_versions_locations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "name", "version", name=op.f("pk_location_versions")),
    )
    op.create_table(
        "orders",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("pack_id", sa.String(length=24), nullable=False),
        sa.Column("wanted_seq", sa.BigInteger(), nullable=False),
        sa.Column("rendered_seq", sa.BigInteger(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False, comment="1 interactive, 2 bulk"),
        sa.Column("verify", sa.Boolean(), nullable=False, comment="look into the store too, not only the ledger"),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_token", sa.String(length=32), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outages", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "pack_id"], ["packs.tenant_id", "packs.id"], name=op.f("fk_orders_packs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "pack_id", name=op.f("pk_orders")),
    )
    with op.batch_alter_table("orders", schema=None) as batch_op:
        batch_op.create_index(
            "ix_orders_pending",
            ["priority", "due_at"],
            unique=False,
            sqlite_where=sa.text("wanted_seq > rendered_seq"),
            postgresql_where=sa.text("wanted_seq > rendered_seq"),
        )

    op.create_table(
        "pack_locations",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("pack_id", sa.String(length=24), nullable=False),
        sa.Column("location", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("original_sha256", sa.String(length=64), nullable=True),
        sa.Column("original_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("crop_left", sa.Double(), nullable=True),
        sa.Column("crop_top", sa.Double(), nullable=True),
        sa.Column("crop_right", sa.Double(), nullable=True),
        sa.Column("crop_bottom", sa.Double(), nullable=True),
        sa.Column("focus_x", sa.Double(), nullable=True),
        sa.Column("focus_y", sa.Double(), nullable=True),
        sa.Column("resize_gravity", sa.String(length=16), nullable=True),
        sa.Column("include_all", sa.String(length=8), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "original_sha256"],
            ["originals.tenant_id", "originals.sha256"],
            name=op.f("fk_pack_locations_originals"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "pack_id"],
            ["packs.tenant_id", "packs.id"],
            name=op.f("fk_pack_locations_packs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "pack_id", "location", name=op.f("pk_pack_locations")),
    )
    with op.batch_alter_table("pack_locations", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_pack_locations_tenant_id_location_pack_id"),
            ["tenant_id", "location", "pack_id"],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_pack_locations_tenant_id_original_sha256"), ["tenant_id", "original_sha256"], unique=False
        )


def downgrade() -> None:
    with op.batch_alter_table("pack_locations", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_pack_locations_tenant_id_original_sha256"))
        batch_op.drop_index(batch_op.f("ix_pack_locations_tenant_id_location_pack_id"))

    op.drop_table("pack_locations")
    with op.batch_alter_table("orders", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_orders_pending",
            sqlite_where=sa.text("wanted_seq > rendered_seq"),
            postgresql_where=sa.text("wanted_seq > rendered_seq"),
        )

    op.drop_table("orders")
    op.drop_table("location_versions")
    with op.batch_alter_table("job_items", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_job_items_open_pack",
            sqlite_where=sa.text("finished_at IS NULL"),
            postgresql_where=sa.text("finished_at IS NULL"),
        )
        batch_op.drop_index(
            "ix_job_items_open_job",
            sqlite_where=sa.text("finished_at IS NULL"),
            postgresql_where=sa.text("finished_at IS NULL"),
        )

    op.drop_table("job_items")
    op.drop_table("job_failures")
    with op.batch_alter_table("uploads", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_uploads_expires_at"))

    op.drop_table("uploads")
    op.drop_table("sequences")
    with op.batch_alter_table("packs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_packs_tenant_id_sequence_number"))
        batch_op.drop_index(batch_op.f("ix_packs_tenant_id_modified_at_id"))
        batch_op.drop_index(batch_op.f("ix_packs_tenant_id_created_at_id"))

    op.drop_table("packs")
    op.drop_table("originals")
    op.drop_table("locations")
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_jobs_tenant_id_created_at_id"))
        batch_op.drop_index(
            "ix_jobs_open", sqlite_where=sa.text("finished_at IS NULL"), postgresql_where=sa.text("finished_at IS NULL")
        )

    op.drop_table("jobs")
    op.drop_table("variants")
    op.drop_table("tenants")
