"""Pending changes of configuration, jobs that pause, and counts that are added in batches."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012"
down_revision: str | None = "0011"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_COUNTS = ("done", "skipped", "failed", "grown")
_GROWN = "how many more than `total` there were"


# Column by column, not in a batch: see 0003.
def upgrade() -> None:
    marking = "packs after this id may have superseded variants not marked; null: none"
    op.add_column("tenants", sa.Column("unmarked_after", sa.String(length=24), nullable=True, comment=marking))
    counts = sa.Column(
        "configured", sa.BigInteger(), nullable=False, server_default="0", comment="counts changes, prepared ones too"
    )
    op.add_column("tenants", counts)
    leased = sa.Column("lease_seq", sa.BigInteger(), nullable=True, comment="what was wanted when the lease was taken")
    op.add_column("orders", leased)
    _flag("location_versions", "spent", "going back renders anew")
    _flag("orders", "lease_bulk", "an edit may take it over")
    _flag("orders", "job_only", "jobs want it, and no edit")
    _flag("orders", "held", "every job that wants it is paused")
    _comment("what it is about, for people; null: all of them")
    counted = "the job counts the variants of these locations; null: of all"
    op.add_column("jobs", sa.Column("scope", sa.JSON(none_as_null=True), nullable=True, comment=counted))
    for name, comment in (("packs", "to go through, at its beginning"), ("packs_seen", "of these, admitted")):
        column = sa.Column(name, sa.BigInteger(), nullable=False, server_default="0", comment=comment)
        op.add_column("jobs", column)
    op.add_column("jobs", sa.Column("rate", sa.Double(), nullable=True, comment="variants a second of late"))
    since = "since when `rate_done` is counted"
    op.add_column("jobs", sa.Column("rate_at", sa.DateTime(timezone=True), nullable=True, comment=since))
    op.add_column("jobs", sa.Column("rate_done", sa.BigInteger(), nullable=False, server_default="0"))
    let_in = "when its last portion was let in"
    op.add_column("jobs", sa.Column("admitted_at", sa.DateTime(timezone=True), nullable=True, comment=let_in))
    _flag("job_items", "again", "only what failed is counted anew")
    for name in _COUNTS:
        what = _GROWN if name == "grown" else None
        op.add_column("job_items", sa.Column(name, sa.Integer(), nullable=False, server_default="0", comment=what))
    # The earlier release has counted finished items.
    op.execute("DELETE FROM job_items WHERE finished_at IS NOT NULL")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("UPDATE jobs SET scope = json_build_array(location) WHERE location IS NOT NULL")
    else:
        op.execute("UPDATE jobs SET scope = json_array(location) WHERE location IS NOT NULL")
    op.drop_index("ix_job_items_open_job", table_name="job_items")
    op.create_index(
        "ix_job_items_finished",
        "job_items",
        ["finished_at"],
        sqlite_where=sa.text("finished_at IS NOT NULL"),
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
    op.create_table(
        "candidates",
        sa.Column("tenant_id", sa.String(length=63), nullable=False),
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column(
            "location",
            sa.String(length=63),
            nullable=True,
            comment="whose change it is; null: the tenant's, or nobody's",
        ),
        sa.Column("change", sa.JSON(), nullable=False),
        sa.Column("accepted", sa.Boolean(), nullable=False, comment="it goes live although some variants failed"),
        sa.Column("prepared_at", sa.DateTime(timezone=True), nullable=True, comment="when the last pack was prepared"),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], name=op.f("fk_candidates_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_candidates")),
    )


def _flag(table: str, name: str, comment: str) -> None:
    op.add_column(table, sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false(), comment=comment))


def _comment(text: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("jobs", "location", existing_type=sa.String(63), existing_nullable=True, comment=text)


def downgrade() -> None:
    _comment("the job counts the variants of this location; null: of all")
    op.drop_table("candidates")
    op.drop_index("ix_job_items_finished", table_name="job_items")
    open_items = sa.text("finished_at IS NULL")
    op.create_index(
        "ix_job_items_open_job",
        "job_items",
        ["tenant_id", "job_id"],
        sqlite_where=open_items,
        postgresql_where=open_items,
    )
    for table, names in (
        ("job_items", ("again", *_COUNTS)),
        ("jobs", ("scope", "packs", "packs_seen", "rate", "rate_at", "rate_done", "admitted_at")),
        ("orders", ("lease_seq", "lease_bulk", "job_only", "held")),
        ("location_versions", ("spent",)),
        ("tenants", ("configured", "unmarked_after")),
    ):
        for name in names:
            op.drop_column(table, name)
