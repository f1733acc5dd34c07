"""What is to be done, how far it is, and what was measured on the way."""

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
    sa.Column("verify", sa.Boolean, nullable=False, comment="look into the store too, not only the ledger"),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("lease_token", sa.String(32)),
    sa.Column("lease_until", Moment),
    sa.Column("outages", sa.Integer, nullable=False),
    sa.Column("faults", sa.Integer, nullable=False, server_default="0", comment="unforeseen exceptions in a row"),
    sa.Column("reason", sa.Text, comment="why the last attempt came to nothing; null: none has"),
    sa.Column(
        "paused",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="put off until due, rung for or not",
    ),
    sa.Column("lease_seq", sa.BigInteger, comment="what was wanted when the lease was taken"),
    sa.Column("lease_bulk", sa.Boolean, nullable=False, server_default=sa.false(), comment="an edit may take it over"),
    sa.Column("job_only", sa.Boolean, nullable=False, server_default=sa.false(), comment="jobs want it, and no edit"),
    sa.Column(
        "held", sa.Boolean, nullable=False, server_default=sa.false(), comment="every job that wants it is paused"
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
    sa.Column("location", NAME, comment="what it is about, for people; null: all of them"),
    sa.Column("pack_id", PACK, comment="the one pack it is about; null: several"),
    sa.Column(
        "scope", sa.JSON(none_as_null=True), comment="the job counts the variants of these locations; null: of all"
    ),
    sa.Column("verify", sa.Boolean, nullable=False),
    sa.Column("cursor", sa.BigInteger, comment="packs below this sequence number are still to be admitted; null: none"),
    sa.Column("packs", sa.BigInteger, nullable=False, server_default="0", comment="to go through, at its beginning"),
    sa.Column("packs_seen", sa.BigInteger, nullable=False, server_default="0", comment="of these, admitted"),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("done", sa.BigInteger, nullable=False),
    sa.Column("skipped", sa.BigInteger, nullable=False),
    sa.Column("failed", sa.BigInteger, nullable=False),
    sa.Column("rate", sa.Double, comment="variants a second of late"),
    sa.Column("rate_at", Moment, comment="since when `rate_done` is counted"),
    sa.Column("rate_done", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("admitted_at", Moment, comment="when its last portion was let in"),
    sa.Column("created_by", sa.Text),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("started_at", Moment),
    sa.Column("heartbeat_at", Moment),
    sa.Column("activated_at", Moment),
    sa.Column("finished_at", Moment),
    sa.Column(
        "faults", sa.Integer, nullable=False, server_default="0", comment="unforeseen exceptions of its own in a row"
    ),
    sa.Column("reason", sa.Text, comment="why its own last step came to nothing; null: none has"),
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
        "again", sa.Boolean, nullable=False, server_default=sa.false(), comment="only what failed is counted anew"
    ),
    sa.Column("done", sa.Integer, nullable=False, server_default="0"),
    sa.Column("skipped", sa.Integer, nullable=False, server_default="0"),
    sa.Column("failed", sa.Integer, nullable=False, server_default="0"),
    sa.Column("grown", sa.Integer, nullable=False, server_default="0", comment="how many more than `total` there were"),
    sa.Column("finished_at", Moment),
    sa.ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
    sa.ForeignKeyConstraint(["tenant_id", "pack_id"], ["packs.tenant_id", "packs.id"], ondelete="CASCADE"),
    sa.Index("ix_job_items_open_pack", "tenant_id", "pack_id", sqlite_where=_OPEN, postgresql_where=_OPEN),
    sa.Index("ix_job_items_finished", "finished_at", sqlite_where=_FINISHED, postgresql_where=_FINISHED),
)

# Packs that an edit moved past a job's cursor before the job came to them: it takes them last.
job_strays = sa.Table(
    "job_strays",
    metadata,
    tenant_key(),
    sa.Column("job_id", sa.String(32), primary_key=True),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
    sa.ForeignKeyConstraint(["tenant_id", "pack_id"], ["packs.tenant_id", "packs.id"], ondelete="CASCADE"),
    sa.Index(None, "tenant_id", "pack_id"),
)

# The one change of configuration that a tenant may have in preparation, as only the fields that differ.
candidates = sa.Table(
    "candidates",
    metadata,
    tenant_key(),
    sa.Column("job_id", sa.String(32), nullable=False),
    sa.Column("location", NAME, comment="whose change it is; null: the tenant's, or nobody's"),
    sa.Column("change", sa.JSON, nullable=False),
    sa.Column("accepted", sa.Boolean, nullable=False, comment="it goes live although some variants failed"),
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

# Originals still to be fetched, one for a pack location; a row that is done with is gone.
fetches = sa.Table(
    "fetches",
    metadata,
    tenant_key(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("location", NAME, primary_key=True),
    sa.Column("job_id", sa.String(32), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False, comment="1 interactive, 2 bulk"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("outages", sa.Integer, nullable=False),
    sa.Column("faults", sa.Integer, nullable=False, server_default="0", comment="unforeseen exceptions in a row"),
    sa.Column("reason", sa.Text, comment="why the last attempt came to nothing; null: none has"),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("lease_token", sa.String(32)),
    sa.Column("lease_until", Moment),
    sa.ForeignKeyConstraint(["tenant_id", "pack_id"], ["packs.tenant_id", "packs.id"], ondelete="CASCADE"),
    sa.ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
    sa.Index(None, "priority", "due_at"),
    sa.Index(None, "tenant_id", "job_id"),
)

# Packs that were erased: their URLs are gone for good, and nothing is made for them again.
tombstones = sa.Table(
    "tombstones",
    metadata,
    tenant_key(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("erased_by", sa.Text, nullable=False),
    sa.Column("erased_at", Moment, nullable=False),
)

# Erasures still to be carried out; a row that is done with is gone.
erasures = sa.Table(
    "erasures",
    metadata,
    tenant_key(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("job_id", sa.String(32), nullable=False),
    sa.Column("originals", sa.JSON, nullable=False, comment="sha256 of every original that the pack ever showed"),
    sa.Column("passes", sa.SmallInteger, nullable=False, comment="how often all of it was erased"),
    sa.Column("outages", sa.Integer, nullable=False),
    sa.Column("faults", sa.Integer, nullable=False, server_default="0", comment="unforeseen exceptions in a row"),
    sa.Column("reason", sa.Text, comment="why the last attempt came to nothing; null: none has"),
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
    # In plain text, by an earlier release; else empty.
    sa.Column("secret", sa.Text, nullable=False),
    # The secret, encrypted; see `packshot.security.sealing`.
    sa.Column("sealed", sa.LargeBinary),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
)

# Replaced by a rotation; they sign until they expire, beside the secret in `webhooks`.
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

deliveries = sa.Table(
    "deliveries",
    metadata,
    tenant_key(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("webhook_id", sa.String(32), nullable=False),
    sa.Column("event", sa.String(32), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("response_status", sa.Integer),
    sa.Column("faults", sa.Integer, nullable=False, server_default="0", comment="unforeseen exceptions in a row"),
    sa.Column("error", sa.Text, comment="why the last attempt came to nothing; null: none has"),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("lease_until", Moment),
    sa.Column("created_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id", "webhook_id"], ["webhooks.tenant_id", "webhooks.id"], ondelete="CASCADE"),
    sa.Index(None, "tenant_id", "webhook_id", "created_at"),
    sa.Index("ix_deliveries_due", "due_at", sqlite_where=_QUEUED, postgresql_where=_QUEUED),
)

# Copies in a CDN that are to be removed, by tag; each first at once, then again when that is complete.
purges = sa.Table(
    "purges",
    metadata,
    tenant_key(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("scope", sa.Text, nullable=False, comment="what is purged, for people"),
    sa.Column("cause", sa.Text, nullable=False, comment="why, for people"),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("tags_sha256", SHA256, nullable=False),
    sa.Column("erasing", sa.Boolean, nullable=False, server_default=sa.false(), comment="must not be shown again"),
    sa.Column("job_id", sa.String(32), comment="of which it is all; null: it was not asked for by itself"),
    sa.Column("batch", sa.String(32), comment="what it is sent with; null: not decided"),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("round", sa.SmallInteger, nullable=False, comment="1: the first purge, 2: the one after it"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("outages", sa.Integer, nullable=False),
    sa.Column("faults", sa.Integer, nullable=False, server_default="0", comment="unforeseen exceptions in a row"),
    sa.Column("provider_id", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("requested_at", Moment, nullable=False),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("sent_at", Moment, comment="when this round's purge was taken; null: it is still to be sent"),
    sa.Column("first_done_at", Moment),
    sa.Column("lease_token", sa.String(32)),
    sa.Column("lease_until", Moment),
    sa.Column("finished_at", Moment),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
    sa.Index(None, "tenant_id", "requested_at", "id"),
    # Of what has not been begun, one row for the same tags is enough.
    sa.Index(
        "uq_purges_queued", "tenant_id", "tags_sha256", unique=True, sqlite_where=_QUEUED, postgresql_where=_QUEUED
    ),
    sa.Index("ix_purges_due", "due_at", sqlite_where=_OPEN, postgresql_where=_OPEN),
)

# What the fallback had to render: not by picture, but by what was asked for.
demand = sa.Table(
    "demand",
    metadata,
    tenant_key(),
    sa.Column("location", NAME, primary_key=True),
    sa.Column("format", sa.String(8), primary_key=True, comment="what was drawn"),
    sa.Column("request", sa.Text, primary_key=True, comment="the request form without its location"),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("last_requested_at", Moment, nullable=False),
)

# Work that one process of many does at a time.
leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("holder", sa.String(32), nullable=False),
    sa.Column("until", Moment, nullable=False),
)

# What rendering costs on the machines of this installation, together; old figures fade.
rates = sa.Table(
    "rates",
    metadata,
    sa.Column("kind", sa.String(16), primary_key=True, comment="a format, or decoding"),
    sa.Column("size", sa.SmallInteger, primary_key=True, comment="0 the smallest variants, each next up to four times"),
    sa.Column("megapixels", sa.Double, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False, comment="of CPU time"),
    sa.Column("bytes", sa.Double, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
)
