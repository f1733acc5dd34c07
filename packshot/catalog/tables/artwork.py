"""Tenants, locations, packs and their originals, and the ledger of their variants."""

from typing import Any

import sqlalchemy as sa

from packshot.catalog.tables.columns import NAME, PACK, SHA256, Moment, metadata, tenant_key

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
    sa.Column(
        "on_demand",
        sa.String(16),
        nullable=False,
        server_default="any",
        comment="which variants besides the planned ones clients can have",
    ),
    sa.Column("unplanned_bytes", sa.BigInteger, comment="most bytes of such variants; null: as the installation says"),
)

# Apart from `tenants`, whose row edits only share: this one every writer locks
# to the end of its transaction, so numbers become visible in their order.
sequences = sa.Table(
    "sequences",
    metadata,
    tenant_key(),
    sa.Column("value", sa.BigInteger, nullable=False),
    sa.Column(
        "forgotten", sa.BigInteger, nullable=False, server_default="0", comment="deletions up to it may be forgotten"
    ),
    sa.Column(
        "marked",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="up to which it may be marked outside the database",
    ),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
)

# Of which history the sequences are: the newest is the current one, and a restore begins another.
epochs = sa.Table(
    "epochs",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.String(32), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("began_at", Moment, nullable=False),
)

# Packs and locations that were deleted, for those who follow changes.
deletions = sa.Table(
    "deletions",
    metadata,
    tenant_key(),
    sa.Column("subject", sa.String(16), primary_key=True, comment="pack or location"),
    sa.Column("id", NAME, primary_key=True, comment="of a location its name"),
    sa.Column("sequence_number", sa.BigInteger, nullable=False),
    sa.Column("external_id", sa.String(255)),
    sa.Column("asset_id", sa.BigInteger),
    sa.Column("erased", sa.Boolean, nullable=False),
    sa.Column("deleted_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
    sa.Index(None, "tenant_id", "sequence_number"),
    sa.Index(None, "deleted_at"),
)

locations = sa.Table(
    "locations",
    metadata,
    tenant_key(),
    sa.Column("name", NAME, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False, comment="the live row of location_versions"),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column(
        "sequence_number", sa.BigInteger, nullable=False, server_default="0", comment="of the last change that is live"
    ),
    sa.Column("added_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
    sa.Index(None, "tenant_id", "sequence_number"),
)

location_versions = sa.Table(
    "location_versions",
    metadata,
    tenant_key(),
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
    tenant_key(),
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
    tenant_key(),
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
    sa.Column("decoding_seconds", sa.Double, comment="CPU time of decoding all frames; null: not measured"),
    sa.Column(
        "decode_revision", sa.SmallInteger, comment="part of the fingerprint; null: an earlier release looked at it"
    ),
    sa.Column("failure", sa.JSON(none_as_null=True), comment="why decoding was last refused; null: it was not"),
    sa.Column("failed_at", Moment),
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
    tenant_key(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("sha256", SHA256, primary_key=True),
    sa.Column(
        "live",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="uploaded through live resize, or imported from such a service",
    ),
    sa.ForeignKeyConstraint(["tenant_id", "sha256"], ["originals.tenant_id", "originals.sha256"], ondelete="CASCADE"),
    sa.Index(None, "tenant_id", "sha256"),
)

pack_locations = sa.Table(
    "pack_locations",
    metadata,
    tenant_key(),
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
_FAILED = sa.text("state = 'failed'")
# SQLite takes an index only where a query spells its condition alike, and it has no booleans.
_PLANNED: dict[str, Any] = {
    "sqlite_where": sa.text("planned = 1 AND superseded_at IS NULL"),
    "postgresql_where": sa.text("planned AND superseded_at IS NULL"),
}
_UNPLANNED: dict[str, Any] = {"sqlite_where": sa.text("planned = 0"), "postgresql_where": sa.text("NOT planned")}

# No foreign key to packs: blobs outlive a deleted pack for the grace period.
variants = sa.Table(
    "variants",
    metadata,
    tenant_key(),
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
    sa.Column("requested_at", Moment, comment="when an unplanned one was last asked for, to the hour"),
    sa.Index(
        "ix_variants_superseded",
        "tenant_id",
        "superseded_at",
        "pack_id",
        sqlite_where=_SUPERSEDED,
        postgresql_where=_SUPERSEDED,
    ),
    # Of one pack a few rows are planned; of the others there are as many as clients asked for.
    sa.Index("ix_variants_planned", "tenant_id", "pack_id", **_PLANNED),
    sa.Index(
        "ix_variants_unplanned",
        "tenant_id",
        "pack_id",
        "location",
        "fingerprint",
        "superseded_at",
        **_UNPLANNED,
    ),
    sa.Index("ix_variants_requested", "tenant_id", "requested_at", "bytes", **_UNPLANNED),
    sa.Index("ix_variants_failed", "tenant_id", "pack_id", sqlite_where=_FAILED, postgresql_where=_FAILED),
    sa.Index(
        "ix_variants_rendered", "tenant_id", "rendered_at", "pack_id", sqlite_where=_SHOWN, postgresql_where=_SHOWN
    ),
    sa.Index("ix_variants_collecting", "tenant_id", sqlite_where=_COLLECTING, postgresql_where=_COLLECTING),
)

# How much the unplanned variants of a tenant take, with what each row takes; the collector counts it anew.
unplanned_usage = sa.Table(
    "unplanned_usage",
    metadata,
    tenant_key(),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("counted_at", Moment, comment="null: never"),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
)

# Locations of packs with as many unplanned variants as there may be, until the collector has been there.
crowded = sa.Table(
    "crowded",
    metadata,
    tenant_key(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("location", NAME, primary_key=True),
)
