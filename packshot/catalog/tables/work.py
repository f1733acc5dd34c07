"""Queues, jobs, webhooks, purges and measurements."""

import sqlalchemy as sa

from packshot.catalog.tables.columns import NAME, PACK, SHA256, Moment, metadata, tenant_key

_PENDING = sa.text("wanted_seq > rendered_seq")

orders = sa.Table(
    "orders",
    metadata,
    tenant_key(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("wanted_seq", sa.BigInteger, nullable=False),
    sa.Column("rendered_seq", sa.BigInteger, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False, comment="1 interactive, 2 bulk"),
    sa.Column(
        "check_store", sa.Boolean, nullable=False, comment="check that variants are stored, beyond what the ledger says"
    ),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("lease_token", sa.String(32)),
    sa.Column("lease_until", Moment),
    sa.Column("outages", sa.Integer, nullable=False),
    sa.Column("faults", sa.Integer, nullable=False, server_default="0", comment="consecutive unforeseen exceptions"),
    sa.Column("reason", sa.Text, comment="why the last attempt failed; null: no attempt failed"),
    sa.Column(
        "paused",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="not claimed before `due_at`, even when the doorbell rings",
    ),
    sa.Column("lease_seq", sa.BigInteger, comment="`wanted_seq` when the lease was taken"),
    sa.Column(
        "lease_bulk",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="the lease is for bulk work, so an edit may take it over",
    ),
    sa.Column("job_only", sa.Boolean, nullable=False, server_default=sa.false(), comment="only jobs need it, no edit"),
    sa.Column(
        "held", sa.Boolean, nullable=False, server_default=sa.false(), comment="every job that needs it is paused"
    ),
    sa.ForeignKeyConstraint(["tenant_id", "pack_id"], ["packs.tenant_id", "packs.id"], ondelete="CASCADE"),
    sa.Index("ix_orders_pending", "priority", "due_at", sqlite_where=_PENDING, postgresql_where=_PENDING),
)

_OPEN = sa.text("finished_at IS NULL")
_FINISHED = sa.text("finished_at IS NOT NULL")

jobs = sa.Table(
    "jobs",
    metadata,
    tenant_key(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("location", NAME, comment="location to display; null: all locations"),
    sa.Column("pack_id", PACK, comment="the only pack of the job; null: several"),
    sa.Column("scope", sa.JSON(none_as_null=True), comment="locations whose variants the job counts; null: all"),
    sa.Column("check_store", sa.Boolean, nullable=False),
    sa.Column("cursor", sa.BigInteger, comment="packs below this sequence number are not enqueued yet; null: all are"),
    sa.Column(
        "packs",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="packs to visit, counted when the job begins",
    ),
    sa.Column(
        "packs_enqueued", sa.BigInteger, nullable=False, server_default="0", comment="packs visited and enqueued so far"
    ),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("skipped", sa.BigInteger, nullable=False),
    sa.Column("failed", sa.BigInteger, nullable=False),
    sa.Column("rate", sa.Double, comment="recent variants per second"),
    sa.Column("rate_at", Moment, comment="when `rate_done` was last reset"),
    sa.Column("rate_done", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("enqueued_at", Moment, comment="when the last portion was enqueued"),
    sa.Column("created_by", sa.Text),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("started_at", Moment),
    sa.Column("heartbeat_at", Moment),
    sa.Column("activated_at", Moment),
    sa.Column("finished_at", Moment),
    sa.Column(
        "faults",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="consecutive unforeseen exceptions of the job's own steps",
    ),
    sa.Column("reason", sa.Text, comment="why the job's own last step failed; null: no step failed"),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
    sa.Index(None, "tenant_id", "created_at", "id"),
    sa.Index(None, "tenant_id", "pack_id", "created_at", "id"),
    sa.Index("ix_jobs_open", "created_at", sqlite_where=_OPEN, postgresql_where=_OPEN),
)

job_items = sa.Table(
    "job_items",
    metadata,
    tenant_key(),
    sa.Column("job_id", sa.String(32), primary_key=True),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("total", sa.Integer, nullable=False),
    sa.Column(
        "is_retry",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="a retry, which does not count skipped variants a second time",
    ),
    sa.Column("done", sa.Integer, nullable=False, server_default="0"),
    sa.Column("skipped", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failed", sa.Integer, nullable=False, server_default="0"),
    sa.Column(
        "total_change",
        sa.Integer,
        nullable=False,
        server_default="0",
        comment="variants found beyond `total`; may be < 0",
    ),
    sa.Column("finished_at", Moment),
    sa.ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
    sa.ForeignKeyConstraint(["tenant_id", "pack_id"], ["packs.tenant_id", "packs.id"], ondelete="CASCADE"),
    sa.Index("ix_job_items_open_pack", "tenant_id", "pack_id", sqlite_where=_OPEN, postgresql_where=_OPEN),
    sa.Index("ix_job_items_finished", "finished_at", sqlite_where=_FINISHED, postgresql_where=_FINISHED),
)

# Packs that an edit moved past a job's cursor before the job reached them. The job enqueues them last.
job_deferred_packs = sa.Table(
    "job_deferred_packs",
    metadata,
    tenant_key(),
    sa.Column("job_id", sa.String(32), primary_key=True),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
    sa.ForeignKeyConstraint(["tenant_id", "pack_id"], ["packs.tenant_id", "packs.id"], ondelete="CASCADE"),
    sa.Index(None, "tenant_id", "pack_id"),
)

# The pending change of configuration, at most one per tenant; holds only the fields that differ.
pending_changes = sa.Table(
    "pending_changes",
    metadata,
    tenant_key(),
    sa.Column("job_id", sa.String(32), nullable=False),
    sa.Column("location", NAME, comment="the changed location; null: the tenant defaults, or a job without a change"),
    sa.Column("change", sa.JSON, nullable=False),
    sa.Column("accepts_failures", sa.Boolean, nullable=False, comment="activate although some variants failed"),
    sa.Column("prepared_at", Moment, comment="when the last pack was prepared"),
    sa.Column("created_by", sa.Text),
    sa.Column("created_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
)

job_failures = sa.Table(
    "job_failures",
    metadata,
    tenant_key(),
    sa.Column("job_id", sa.String(32), primary_key=True),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("location", NAME, primary_key=True),
    sa.Column("code", sa.String(32), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
)

# Originals to fetch, at most one per pack location. A finished row is deleted.
url_imports = sa.Table(
    "url_imports",
    metadata,
    tenant_key(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("location", NAME, primary_key=True),
    sa.Column("job_id", sa.String(32), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False, comment="1 interactive, 2 bulk"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("outages", sa.Integer, nullable=False),
    sa.Column("faults", sa.Integer, nullable=False, server_default="0", comment="consecutive unforeseen exceptions"),
    sa.Column("reason", sa.Text, comment="why the last attempt failed; null: no attempt failed"),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("lease_token", sa.String(32)),
    sa.Column("lease_until", Moment),
    sa.ForeignKeyConstraint(["tenant_id", "pack_id"], ["packs.tenant_id", "packs.id"], ondelete="CASCADE"),
    sa.ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
    sa.Index(None, "priority", "due_at"),
    sa.Index(None, "tenant_id", "job_id"),
)

# Erased packs. Their URLs answer 410 and nothing is rendered for them.
tombstones = sa.Table(
    "tombstones",
    metadata,
    tenant_key(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("erased_by", sa.Text, nullable=False),
    sa.Column("erased_at", Moment, nullable=False),
)

# Erasures to carry out. A finished row is deleted.
erasures = sa.Table(
    "erasures",
    metadata,
    tenant_key(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("job_id", sa.String(32), nullable=False),
    sa.Column("originals", sa.JSON, nullable=False, comment="SHA-256 of every original that the pack ever had"),
    sa.Column("passes", sa.SmallInteger, nullable=False, comment="completed passes over everything to erase"),
    sa.Column("outages", sa.Integer, nullable=False),
    sa.Column("faults", sa.Integer, nullable=False, server_default="0", comment="consecutive unforeseen exceptions"),
    sa.Column("reason", sa.Text, comment="why the last attempt failed; null: no attempt failed"),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("lease_token", sa.String(32)),
    sa.Column("lease_until", Moment),
    sa.ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
    sa.Index(None, "due_at"),
    sa.Index(None, "tenant_id", "job_id"),
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    tenant_key(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("events", sa.JSON, nullable=False),
    # In plain text if an earlier release created the webhook; else empty.
    sa.Column("secret", sa.Text, nullable=False),
    # The secret, encrypted; see `packshot.security.sealing`.
    sa.Column("sealed", sa.LargeBinary),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
)

# Secrets that a rotation replaced. They sign beside the secret in `webhooks` until they expire.
webhook_secrets = sa.Table(
    "webhook_secrets",
    metadata,
    tenant_key(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("webhook_id", sa.String(32), nullable=False),
    sa.Column("sealed", sa.LargeBinary, nullable=False, comment="the secret, encrypted"),
    sa.Column("replaced_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id", "webhook_id"], ["webhooks.tenant_id", "webhooks.id"], ondelete="CASCADE"),
    sa.Index(None, "tenant_id", "webhook_id"),
)

_QUEUED = sa.text("state = 'queued'")

webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    tenant_key(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("webhook_id", sa.String(32), nullable=False),
    sa.Column("event", sa.String(32), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("response_status", sa.Integer),
    sa.Column("faults", sa.Integer, nullable=False, server_default="0", comment="consecutive unforeseen exceptions"),
    sa.Column("error", sa.Text, comment="why the last attempt failed; null: no attempt failed"),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("lease_until", Moment),
    sa.Column("created_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id", "webhook_id"], ["webhooks.tenant_id", "webhooks.id"], ondelete="CASCADE"),
    sa.Index(None, "tenant_id", "webhook_id", "created_at"),
    sa.Index("ix_webhook_deliveries_due", "due_at", sqlite_where=_QUEUED, postgresql_where=_QUEUED),
)

# Copies to remove from the CDN, by tag. Each purge is sent once at once and a second time after the first completed.
purges = sa.Table(
    "purges",
    metadata,
    tenant_key(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("scope", sa.Text, nullable=False, comment="what is purged, to display"),
    sa.Column("cause", sa.Text, nullable=False, comment="why, to display"),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("tags_sha256", SHA256, nullable=False),
    sa.Column(
        "erasing",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="the copies must never be served again",
    ),
    sa.Column("job_id", sa.String(32), comment="the job that consists of this purge; null: part of another change"),
    sa.Column("batch", sa.String(32), comment="id of the purge batch it is sent with; null: none yet"),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("round", sa.SmallInteger, nullable=False, comment="1 or 2: the first or the second sending"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("outages", sa.Integer, nullable=False),
    sa.Column("faults", sa.Integer, nullable=False, server_default="0", comment="consecutive unforeseen exceptions"),
    sa.Column("provider_id", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("requested_at", Moment, nullable=False),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("sent_at", Moment, comment="when the provider accepted this round; null: not sent yet"),
    sa.Column("first_done_at", Moment),
    sa.Column("lease_token", sa.String(32)),
    sa.Column("lease_until", Moment),
    sa.Column("finished_at", Moment),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
    sa.Index(None, "tenant_id", "requested_at", "id"),
    # One row for the same tags is enough while its purge has not begun.
    sa.Index(
        "uq_purges_queued", "tenant_id", "tags_sha256", unique=True, sqlite_where=_QUEUED, postgresql_where=_QUEUED
    ),
    sa.Index("ix_purges_due", "due_at", sqlite_where=_OPEN, postgresql_where=_OPEN),
)

# Counts of on-demand requests by form, not by image.
demand = sa.Table(
    "demand",
    metadata,
    tenant_key(),
    sa.Column("location", NAME, primary_key=True),
    sa.Column("format", sa.String(8), primary_key=True, comment="the rendered format"),
    sa.Column("request", sa.Text, primary_key=True, comment="the form of the request without its location"),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("last_requested_at", Moment, nullable=False),
)

# Leases on work that only one process does at a time.
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("holder", sa.String(32), nullable=False),
    sa.Column("until", Moment, nullable=False),
)

# Measured render costs of all machines of the installation. Older measurements weigh less.
render_costs = sa.Table(
    "render_costs",
    metadata,
    sa.Column("kind", sa.String(16), primary_key=True, comment="an output format, or decoding"),
    sa.Column(
        "size",
        sa.SmallInteger,
        primary_key=True,
        comment="size class: 0 for the smallest variants, each next one up to four times as large",
    ),
    sa.Column("megapixels", sa.Double, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False, comment="CPU seconds"),
    sa.Column("bytes", sa.Double, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
)
