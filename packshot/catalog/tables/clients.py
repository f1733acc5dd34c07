"""Uploads, answers by idempotency key, API tokens and access keys."""

import sqlalchemy as sa

from packshot.catalog.tables.columns import NAME, SHA256, Moment, metadata, tenant_key

uploads = sa.Table(
    "uploads",
    metadata,
    tenant_key(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("token_sha256", SHA256, nullable=False),
    sa.Column("method", sa.String(16), comment="how the client sends the bytes; null: with a one-time token"),
    sa.Column("media_type", sa.String(127), nullable=False),
    sa.Column("max_bytes", sa.BigInteger, nullable=False),
    sa.Column(
        "image_id", sa.String(255), comment="live resize image that the upload is for; null: announced through GraphQL"
    ),
    sa.Column("expected_sha256", SHA256),
    sa.Column("sha256", SHA256),
    sa.Column("bytes", sa.BigInteger),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
    sa.Index(None, "expires_at"),
)

# The answers to calls with an idempotency key, to repeat them.
idempotency_answers = sa.Table(
    "idempotency_answers",
    metadata,
    tenant_key(),
    sa.Column("id", SHA256, primary_key=True),
    sa.Column("body_sha256", SHA256, nullable=False),
    sa.Column("answer", sa.JSON, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
    sa.Index(None, "expires_at"),
)

_NOT_REVOKED = sa.text("revoked_at IS NULL")

tokens = sa.Table(
    "tokens",
    metadata,
    tenant_key(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("name", NAME, nullable=False),
    sa.Column("sha256", SHA256, nullable=False, comment="of the secret, which is not stored"),
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("created_by", sa.Text),
    sa.Column("expires_at", Moment),
    sa.Column("revoked_at", Moment),
    sa.Column("last_used_at", Moment, comment="day of the last use"),
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
    tenant_key(),
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("name", NAME, nullable=False),
    sa.Column("sha256", SHA256, nullable=False, comment="of the secret, to find the key that a client presents"),
    sa.Column("sealed", sa.LargeBinary, nullable=False, comment="the secret, encrypted; empty: revoked"),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("created_by", sa.Text),
    sa.Column("revoked_at", Moment),
    sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
)
