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
        "configuration_number",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="raised by every change of configuration, live or pending",
    ),
    sa.Column(
        "unmarked_after",
        PACK,
        comment="packs after this id may have superseded variants that are not marked; null: none",
    ),
    sa.Column(
        "keys_required",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="images need an access key",
    ),
    sa.Column(
        "private",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="variants are stored under the private prefix, which no CDN reads",
    ),
    sa.Column(
        "on_demand",
        sa.String(16),
        nullable=False,
        server_default="any",
        comment="on-demand policy: which unplanned variants clients may request",
    ),
    sa.Column(
        "unplanned_bytes",
        sa.BigInteger,
        comment="most bytes of unplanned variants; null: the default of the installation",
    ),
)

# Every edit locks its tenant's row here until it commits, so sequence numbers become visible in order.
# The row in `tenants` would not do: edits lock that one only for sharing.
sequences = sa.Table(
    "sequences",
    metadata,
    tenant_key(),
    sa.Column("value", sa.BigInteger, nullable=False),
    sa.Column(
        "deletions_dropped_up_to",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="rows of `deletions` up to this number may have been dropped",
    ),
    sa.Column(
        "marked_up_to",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="highest number that the mark outside the database may have",
    ),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
)

# The histories that sequence numbers belong to. The newest is the current one; restoring a backup begins another.
epochs = sa.Table(
    "epochs",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("epoch", sa.String(32), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("began_at", Moment, nullable=False),
)

# Deleted packs and locations, for clients that follow the change feed.
deletions = sa.Table(
    "deletions",
    metadata,
    tenant_key(),
    sa.Column("subject", sa.String(16), primary_key=True, comment="pack or location"),
    sa.Column("id", NAME, primary_key=True, comment="pack id, or location name"),
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
    sa.Column("sequence_number", sa.BigInteger, nullable=False, server_default="0", comment="of the last live change"),
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
    sa.Column("active_from", Moment, comment="null: a pending change"),
    sa.Column("active_to", Moment),
    sa.Column("changed_by", sa.Text),
    sa.Column(
        "revert_renders_all",
        sa.Boolean,
        nullable=False,
        server_default=sa.false(),
        comment="a revert to this version cannot reuse its variants",
    ),
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
    sa.Column("shape", sa.Text, comment="equal in packs that have the same variant plans under any configuration"),
    sa.Column("shape_version", sa.Integer, comment="the pack version that `shape` describes"),
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
    sa.Column("quality", sa.SmallInteger, comment="JPEG quality, 1 to 100; null: unknown"),
    sa.Column("decoding_seconds", sa.Double, comment="CPU seconds of decoding all frames; null: not measured"),
    sa.Column(
        "decode_revision",
        sa.SmallInteger,
        comment="decoder revision, a part of the fingerprint; null: probed by an earlier release",
    ),
    sa.Column("failure", sa.JSON(none_as_null=True), comment="why decoding was last refused; null: it succeeded"),
    sa.Column("failed_at", Moment),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("unused_since", Moment, comment="null: a pack location uses it"),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
    sa.Index("ix_originals_unused", "unused_since", sqlite_where=_UNUSED, postgresql_where=_UNUSED),
)

# Every original that a pack ever had. Erasing the pack also deletes those that it no longer has.
# No foreign key to packs: a deleted pack can still be erased.
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
        comment="uploaded through live resize, or migrated from a live resize service",
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
# SQLite uses a partial index only if the query repeats its condition literally, and stores booleans as numbers.
_PLANNED: dict[str, Any] = {
    "sqlite_where": sa.text("planned = 1 AND superseded_at IS NULL"),
    "postgresql_where": sa.text("planned AND superseded_at IS NULL"),
}
_UNPLANNED: dict[str, Any] = {"sqlite_where": sa.text("planned = 0"), "postgresql_where": sa.text("NOT planned")}

# No foreign key to packs: the variants of a deleted pack stay stored for the grace period.
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
    sa.Column("requested_at", Moment, comment="hour in which an unplanned variant was last requested"),
    sa.Index(
        "ix_variants_superseded",
        "tenant_id",
        "superseded_at",
        "pack_id",
        sqlite_where=_SUPERSEDED,
        postgresql_where=_SUPERSEDED,
    ),
    # A pack has few planned variants, but as many unplanned ones as clients requested.
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

# Bytes that a tenant's unplanned variants use, with an allowance for each row. The collector recounts them.
unplanned_usage = sa.Table(
    "unplanned_usage",
    metadata,
    tenant_key(),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("counted_at", Moment, comment="null: never"),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
)

# Pack locations that have the most unplanned variants they may have; the collector makes room and deletes the row.
full_pack_locations = sa.Table(
    "full_pack_locations",
    metadata,
    tenant_key(),
    sa.Column("pack_id", PACK, primary_key=True),
    sa.Column("location", NAME, primary_key=True),
)
