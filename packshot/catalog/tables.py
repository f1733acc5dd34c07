"""Every table, written for SQLite and PostgreSQL alike.

`tenant_id` is the tenant's name and leads every key. Enumerations are stored
as their lower-case values, moments as UTC.
"""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Moment(sa.TypeDecorator[datetime]):
    """An aware UTC datetime; SQLite has no time zones, so it stores them naive."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None or dialect.name != "sqlite":
            return value
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _tenant() -> sa.Column[str]:
    return sa.Column("tenant_id", sa.String(63), primary_key=True)


NAME, PACK, SHA256 = sa.String(63), sa.String(24), sa.String(64)

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", NAME, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("resize_gravity", sa.String(16), nullable=False),
    sa.Column("include_all", sa.Boolean, nullable=False),
    sa.Column("format_policy", sa.String(16), nullable=False),
    sa.Column("keep_credits", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column(
        "configured", sa.BigInteger, nullable=False, server_default="0", comment="counts changes, prepared ones too"
    ),
    sa.Column(
        "unmarked_after", PACK, comment="packs after this id may have superseded variants not marked; null: none"
    ),
    sa.Column(
        "keys_required",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="its pictures are shown only to who has an access key",
    ),
    sa.Column(
        "private",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="its blobs are kept where no CDN looks",
    ),
)

# Apart from `tenants`, whose row edits only share: this one every writer locks
# to the end of its transaction, so numbers become visible in their order.
sequences = sa.Table(
    "sequences",
    metadata,
    _tenant(),
    sa.Column("value", sa.BigInteger, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
)

locations = sa.Table(
    "locations",
    metadata,
    _tenant(),
    sa.Column("name", NAME, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False, comment="the live row of location_versions"),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("added_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
)

location_versions = sa.Table(
    "location_versions",
    metadata,
    _tenant(),
    sa.Column("name", NAME, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("label", sa.Text),
    sa.Column("width", sa.Integer),
    sa.Column("height", sa.Integer),
    sa.Column("fallback", NAME),
    sa.Column("resize_gravity", sa.String(16)),
    sa.Column("include_all", sa.String(8), nullable=False),
    sa.Column("allow_upscale", sa.Boolean, nullable=False),
    sa.Column("renditions", sa.JSON(none_as_null=True)),
    sa.Column("formats", sa.JSON(none_as_null=True)),
    sa.Column("active_from", Moment, comment="null while a candidate is being prepared"),
    sa.Column("active_to", Moment),
    sa.Column("changed_by", sa.Text),
    sa.Column("spent", sa.Boolean, nullable=False, server_default=sa.false(), comment="going back renders anew"),
    sa.ForeignKeyConstraint(["tenant_id", "name"], ["locations.tenant_id", "locations.name"], ondelete="CASCADE"),
)

packs = sa.Table(
    "packs",
    metadata,
    _tenant(),
    sa.Column("id", PACK, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("sequence_number", sa.BigInteger, nullable=False),
    sa.Column("asset_id", sa.BigInteger),
    sa.Column("external_id", sa.String(255)),
    sa.Column("main_location", NAME),
    sa.Column("resize_gravity", sa.String(16)),
    sa.Column("include_all", sa.String(8), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("modified_at", Moment, nullable=False),
    sa.Column("shape", sa.Text, comment="alike in packs of which the same is planned, whatever the configuration"),
    sa.Column("shape_version", sa.Integer, comment="the pack's version when it had that shape"),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
    sa.UniqueConstraint("tenant_id", "asset_id"),
    sa.UniqueConstraint("tenant_id", "external_id"),
    sa.Index(None, "tenant_id", "created_at", "id"),
    sa.Index(None, "tenant_id", "modified_at", "id"),
    sa.Index(None, "tenant_id", "sequence_number"),
)

_UNUSED = sa.text("unused_since IS NOT NULL")

originals = sa.Table(
    "originals",
    metadata,
    _tenant(),
    sa.Column("sha256", SHA256, primary_key=True),
    sa.Column("width", sa.Integer, nullable=False),
    sa.Column("height", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("format", sa.String(16), nullable=False),
    sa.Column("alpha", sa.Boolean, nullable=False),
    sa.Column("frames", sa.Integer, nullable=False),
    sa.Column("thumbhash", sa.String(64)),
    sa.Column("dominant_color", sa.String(7)),
    sa.Column("quality", sa.SmallInteger, comment="1 to 100, of a JPEG; null: not known"),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("unused_since", Moment, comment="null while a pack location shows it"),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
    sa.Index("ix_originals_unused", "unused_since", sqlite_where=_UNUSED, postgresql_where=_UNUSED),
)

# Every original that a pack ever showed, so that erasing the pack finds those it shows no longer.
# No foreign key to packs: one that is deleted can be erased afterwards.
pack_originals = sa.Table(
    "pack_originals",
    metadata,
    _tenant(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("sha256", SHA256, primary_key=True),
    sa.ForeignKeyConstraint(["tenant_id", "sha256"], ["originals.tenant_id", "originals.sha256"], ondelete="CASCADE"),
    sa.Index(None, "tenant_id", "sha256"),
)

pack_locations = sa.Table(
    "pack_locations",
    metadata,
    _tenant(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("location", NAME, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("original_sha256", SHA256),
    sa.Column("original_at", Moment),
    sa.Column("crop_left", sa.Double),
    sa.Column("crop_top", sa.Double),
    sa.Column("crop_right", sa.Double),
    sa.Column("crop_bottom", sa.Double),
    sa.Column("focus_x", sa.Double),
    sa.Column("focus_y", sa.Double),
    sa.Column("resize_gravity", sa.String(16)),
    sa.Column("include_all", sa.String(8), nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id", "pack_id"], ["packs.tenant_id", "packs.id"], ondelete="CASCADE"),
    sa.ForeignKeyConstraint(["tenant_id", "original_sha256"], ["originals.tenant_id", "originals.sha256"]),
    sa.Index(None, "tenant_id", "location", "pack_id"),
    sa.Index(None, "tenant_id", "original_sha256"),
)

_SUPERSEDED = sa.text("superseded_at IS NOT NULL")
_SHOWN = sa.text("superseded_at IS NULL AND rendered_at IS NOT NULL")
_COLLECTING = sa.text("state = 'collecting'")

# No foreign key to packs: blobs outlive a deleted pack for the grace period.
variants = sa.Table(
    "variants",
    metadata,
    _tenant(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("location", NAME, primary_key=True),
    sa.Column("fingerprint", sa.String(24), primary_key=True),
    sa.Column("plan", sa.String(128), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("planned", sa.Boolean, nullable=False),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("sha256", SHA256),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("error_code", sa.String(32)),
    sa.Column("error", sa.Text),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("rendered_at", Moment),
    sa.Column("superseded_at", Moment),
    sa.Index("ix_variants_superseded", "superseded_at", sqlite_where=_SUPERSEDED, postgresql_where=_SUPERSEDED),
    sa.Index(
        "ix_variants_rendered", "tenant_id", "rendered_at", "pack_id", sqlite_where=_SHOWN, postgresql_where=_SHOWN
    ),
    sa.Index("ix_variants_collecting", "tenant_id", sqlite_where=_COLLECTING, postgresql_where=_COLLECTING),
)

_PENDING = sa.text("wanted_seq > rendered_seq")

orders = sa.Table(
    "orders",
    metadata,
    _tenant(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("wanted_seq", sa.BigInteger, nullable=False),
    sa.Column("rendered_seq", sa.BigInteger, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False, comment="1 interactive, 2 bulk"),
    sa.Column("verify", sa.Boolean, nullable=False, comment="look into the store too, not only the ledger"),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("lease_token", sa.String(32)),
    sa.Column("lease_until", Moment),
    sa.Column("outages", sa.Integer, nullable=False),
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
    _tenant(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("location", NAME, comment="what it is about, for people; null: all of them"),
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
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
    sa.Index(None, "tenant_id", "created_at", "id"),
    sa.Index("ix_jobs_open", "created_at", sqlite_where=_OPEN, postgresql_where=_OPEN),
)

job_items = sa.Table(
    "job_items",
    metadata,
    _tenant(),
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

# The one change of configuration that a tenant may have in preparation, as only the fields that differ.
candidates = sa.Table(
    "candidates",
    metadata,
    _tenant(),
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
    _tenant(),
    sa.Column("job_id", sa.String(32), primary_key=True),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("location", NAME, primary_key=True),
    sa.Column("code", sa.String(32), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
)

uploads = sa.Table(
    "uploads",
    metadata,
    _tenant(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("token_sha256", SHA256, nullable=False),
    sa.Column("method", sa.String(16), comment="how the bytes are sent; null: with a one-time token"),
    sa.Column("media_type", sa.String(127), nullable=False),
    sa.Column("max_bytes", sa.BigInteger, nullable=False),
    sa.Column(
        "image_id", sa.String(255), comment="the live image it is bound to; null: none, it was announced by GraphQL"
    ),
    sa.Column("expected_sha256", SHA256),
    sa.Column("sha256", SHA256),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
    sa.Index(None, "expires_at"),
)

# Originals still to be fetched, one for a pack location; a row that is done with is gone.
fetches = sa.Table(
    "fetches",
    metadata,
    _tenant(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("location", NAME, primary_key=True),
    sa.Column("job_id", sa.String(32), nullable=False),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False, comment="1 interactive, 2 bulk"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("outages", sa.Integer, nullable=False),
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
    _tenant(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("erased_by", sa.Text, nullable=False),
    sa.Column("erased_at", Moment, nullable=False),
)

# Erasures still to be carried out; a row that is done with is gone.
erasures = sa.Table(
    "erasures",
    metadata,
    _tenant(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("job_id", sa.String(32), nullable=False),
    sa.Column("originals", sa.JSON, nullable=False, comment="sha256 of every original that the pack ever showed"),
    sa.Column("passes", sa.SmallInteger, nullable=False, comment="how often all of it was erased"),
    sa.Column("outages", sa.Integer, nullable=False),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("lease_token", sa.String(32)),
    sa.Column("lease_until", Moment),
    sa.ForeignKeyConstraint(["tenant_id", "job_id"], ["jobs.tenant_id", "jobs.id"], ondelete="CASCADE"),
    sa.Index(None, "due_at"),
    sa.Index(None, "tenant_id", "job_id"),
)

# What calls with an idempotency key were answered.
answers = sa.Table(
    "answers",
    metadata,
    _tenant(),
    sa.Column("id", SHA256, primary_key=True),
    sa.Column("body", SHA256, nullable=False),
    sa.Column("answer", sa.JSON, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
    sa.Index(None, "expires_at"),
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    _tenant(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("events", sa.JSON, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
)

_QUEUED = sa.text("state = 'queued'")

deliveries = sa.Table(
    "deliveries",
    metadata,
    _tenant(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("webhook_id", sa.String(32), nullable=False),
    sa.Column("event", sa.String(32), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("response_status", sa.Integer),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("lease_until", Moment),
    sa.Column("created_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id", "webhook_id"], ["webhooks.tenant_id", "webhooks.id"], ondelete="CASCADE"),
    sa.Index(None, "tenant_id", "webhook_id", "created_at"),
    sa.Index("ix_deliveries_due", "due_at", sqlite_where=_QUEUED, postgresql_where=_QUEUED),
)

_NOT_REVOKED = sa.text("revoked_at IS NULL")

tokens = sa.Table(
    "tokens",
    metadata,
    _tenant(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("name", NAME, nullable=False),
    sa.Column("sha256", SHA256, nullable=False, comment="of the secret, which is kept nowhere"),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("created_by", sa.Text),
    sa.Column("expires_at", Moment),
    sa.Column("revoked_at", Moment),
    sa.Column("last_used_at", Moment, comment="to the day"),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
    sa.UniqueConstraint("sha256"),
    sa.Index(
        "uq_tokens_live_name",
        "tenant_id",
        "name",
        unique=True,
        sqlite_where=_NOT_REVOKED,
        postgresql_where=_NOT_REVOKED,
    ),
)

access_keys = sa.Table(
    "access_keys",
    metadata,
    _tenant(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("name", NAME, nullable=False),
    sa.Column("sha256", SHA256, nullable=False, comment="of the secret, to find it when it is shown"),
    sa.Column("sealed", sa.LargeBinary, nullable=False, comment="the secret, encrypted; empty when it is revoked"),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("created_by", sa.Text),
    sa.Column("revoked_at", Moment),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
)

# Copies in a CDN that are to be removed, by tag; each first at once, then again when that is complete.
purges = sa.Table(
    "purges",
    metadata,
    _tenant(),
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
    _tenant(),
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
