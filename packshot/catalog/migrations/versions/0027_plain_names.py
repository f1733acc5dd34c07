"""Tables and columns get the names that the glossary has, and plainer comments.

Processes of an earlier version do not know the new names: stop all of them before this step.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0027"
down_revision: str | None = "0026"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The old and the new name of each table, and the tables that its foreign keys name.
_TABLES = (
    ("answers", "idempotency_answers", ()),
    ("candidates", "pending_changes", ("jobs",)),
    ("crowded", "full_pack_locations", ()),
    ("deliveries", "webhook_deliveries", ("webhooks",)),
    ("fetches", "url_imports", ("packs", "jobs")),
    ("job_strays", "job_deferred_packs", ("packs", "jobs")),
    ("rates", "render_costs", ()),
)

# The new name of a table; the end of an index's name, its columns, and its condition.
_INDEXES = (
    ("idempotency_answers", "expires_at", ("expires_at",), None),
    ("job_deferred_packs", "tenant_id_pack_id", ("tenant_id", "pack_id"), None),
    ("url_imports", "priority_due_at", ("priority", "due_at"), None),
    ("url_imports", "tenant_id_job_id", ("tenant_id", "job_id"), None),
    ("webhook_deliveries", "due", ("due_at",), sa.text("state = 'queued'")),
    ("webhook_deliveries", "tenant_id_webhook_id_created_at", ("tenant_id", "webhook_id", "created_at"), None),
)

# The new name of a table; the old and the new name of a column.
_COLUMNS = (
    ("idempotency_answers", "body", "body_sha256"),
    ("job_items", "again", "is_retry"),
    ("job_items", "grown", "total_change"),
    ("jobs", "admitted_at", "enqueued_at"),
    ("jobs", "packs_seen", "packs_enqueued"),
    ("jobs", "verify", "check_store"),
    ("location_versions", "spent", "revert_renders_all"),
    ("orders", "verify", "check_store"),
    ("pending_changes", "accepted", "accepts_failures"),
    ("sequences", "forgotten", "deletions_dropped_up_to"),
    ("sequences", "marked", "marked_up_to"),
    ("tenants", "configured", "configuration_number"),
)

# Table, column, the old and the new comment; names are the new ones.
_COMMENTS = (
    (
        "access_keys",
        "sealed",
        "the secret, encrypted; empty when it is revoked",
        "the secret, encrypted; empty: revoked",
    ),
    (
        "access_keys",
        "sha256",
        "of the secret, to find it when it is shown",
        "of the secret, to find the key that a client presents",
    ),
    ("deletions", "id", "of a location its name", "pack id, or location name"),
    ("demand", "format", "what was drawn", "the rendered format"),
    ("demand", "request", "the request form without its location", "the form of the request without its location"),
    ("erasures", "faults", "unforeseen exceptions in a row", "consecutive unforeseen exceptions"),
    (
        "erasures",
        "originals",
        "sha256 of every original that the pack ever showed",
        "SHA-256 of every original that the pack ever had",
    ),
    ("erasures", "passes", "how often all of it was erased", "completed passes over everything to erase"),
    (
        "erasures",
        "reason",
        "why the last attempt came to nothing; null: none has",
        "why the last attempt failed; null: no attempt failed",
    ),
    (
        "job_items",
        "is_retry",
        "only what failed is counted anew",
        "a retry, which does not count skipped variants a second time",
    ),
    ("job_items", "total_change", "how many more than `total` there were", "variants found beyond `total`; may be < 0"),
    (
        "jobs",
        "cursor",
        "packs below this sequence number are still to be admitted; null: none",
        "packs below this sequence number are not enqueued yet; null: all are",
    ),
    ("jobs", "enqueued_at", "when its last portion was let in", "when the last portion was enqueued"),
    (
        "jobs",
        "faults",
        "unforeseen exceptions of its own in a row",
        "consecutive unforeseen exceptions of the job's own steps",
    ),
    ("jobs", "location", "what it is about, for people; null: all of them", "location to display; null: all locations"),
    ("jobs", "pack_id", "the one pack it is about; null: several", "the only pack of the job; null: several"),
    ("jobs", "packs", "to go through, at its beginning", "packs to visit, counted when the job begins"),
    ("jobs", "packs_enqueued", "of these, admitted", "packs visited and enqueued so far"),
    ("jobs", "rate", "variants a second of late", "recent variants per second"),
    ("jobs", "rate_at", "since when `rate_done` is counted", "when `rate_done` was last reset"),
    (
        "jobs",
        "reason",
        "why its own last step came to nothing; null: none has",
        "why the job's own last step failed; null: no step failed",
    ),
    (
        "jobs",
        "scope",
        "the job counts the variants of these locations; null: of all",
        "locations whose variants the job counts; null: all",
    ),
    ("location_versions", "active_from", "null while a candidate is being prepared", "null: a pending change"),
    (
        "location_versions",
        "revert_renders_all",
        "going back renders anew",
        "a revert to this version cannot reuse its variants",
    ),
    ("locations", "sequence_number", "of the last change that is live", "of the last live change"),
    (
        "orders",
        "check_store",
        "look into the store too, not only the ledger",
        "check that variants are stored, beyond what the ledger says",
    ),
    ("orders", "faults", "unforeseen exceptions in a row", "consecutive unforeseen exceptions"),
    ("orders", "held", "every job that wants it is paused", "every job that needs it is paused"),
    ("orders", "job_only", "jobs want it, and no edit", "only jobs need it, no edit"),
    ("orders", "lease_bulk", "an edit may take it over", "the lease is for bulk work, so an edit may take it over"),
    ("orders", "lease_seq", "what was wanted when the lease was taken", "`wanted_seq` when the lease was taken"),
    (
        "orders",
        "paused",
        "put off until due, rung for or not",
        "not claimed before `due_at`, even when the doorbell rings",
    ),
    (
        "orders",
        "reason",
        "why the last attempt came to nothing; null: none has",
        "why the last attempt failed; null: no attempt failed",
    ),
    (
        "originals",
        "decode_revision",
        "part of the fingerprint; null: an earlier release looked at it",
        "decoder revision, a part of the fingerprint; null: probed by an earlier release",
    ),
    (
        "originals",
        "decoding_seconds",
        "CPU time of decoding all frames; null: not measured",
        "CPU seconds of decoding all frames; null: not measured",
    ),
    (
        "originals",
        "failure",
        "why decoding was last refused; null: it was not",
        "why decoding was last refused; null: it succeeded",
    ),
    ("originals", "quality", "1 to 100, of a JPEG; null: not known", "JPEG quality, 1 to 100; null: unknown"),
    ("originals", "unused_since", "null while a pack location shows it", "null: a pack location uses it"),
    (
        "pack_originals",
        "live",
        "uploaded through live resize, or imported from such a service",
        "uploaded through live resize, or migrated from a live resize service",
    ),
    (
        "packs",
        "shape",
        "alike in packs of which the same is planned, whatever the configuration",
        "equal in packs that have the same variant plans under any configuration",
    ),
    ("packs", "shape_version", "the pack's version when it had that shape", "the pack version that `shape` describes"),
    (
        "pending_changes",
        "accepts_failures",
        "it goes live although some variants failed",
        "activate although some variants failed",
    ),
    (
        "pending_changes",
        "location",
        "whose change it is; null: the tenant's, or nobody's",
        "the changed location; null: the tenant defaults, or a job without a change",
    ),
    (
        "purges",
        "batch",
        "what it is sent with; null: not decided",
        "id of the purge batch it is sent with; null: none yet",
    ),
    ("purges", "cause", "why, for people", "why, to display"),
    ("purges", "erasing", "must not be shown again", "the copies must never be served again"),
    ("purges", "faults", "unforeseen exceptions in a row", "consecutive unforeseen exceptions"),
    (
        "purges",
        "job_id",
        "of which it is all; null: it was not asked for by itself",
        "the job that consists of this purge; null: part of another change",
    ),
    ("purges", "round", "1: the first purge, 2: the one after it", "1 or 2: the first or the second sending"),
    ("purges", "scope", "what is purged, for people", "what is purged, to display"),
    (
        "purges",
        "sent_at",
        "when this round's purge was taken; null: it is still to be sent",
        "when the provider accepted this round; null: not sent yet",
    ),
    ("render_costs", "kind", "a format, or decoding", "an output format, or decoding"),
    ("render_costs", "seconds", "of CPU time", "CPU seconds"),
    (
        "render_costs",
        "size",
        "0 the smallest variants, each next up to four times",
        "size class: 0 for the smallest variants, each next one up to four times as large",
    ),
    (
        "sequences",
        "deletions_dropped_up_to",
        "deletions up to it may be forgotten",
        "rows of `deletions` up to this number may have been dropped",
    ),
    (
        "sequences",
        "marked_up_to",
        "up to which it may be marked outside the database",
        "highest number that the mark outside the database may have",
    ),
    (
        "tenants",
        "configuration_number",
        "counts changes, prepared ones too",
        "raised by every change of configuration, live or pending",
    ),
    ("tenants", "keys_required", "its pictures are shown only to who has an access key", "images need an access key"),
    (
        "tenants",
        "on_demand",
        "which variants besides the planned ones clients can have",
        "on-demand policy: which unplanned variants clients may request",
    ),
    (
        "tenants",
        "private",
        "its blobs are kept where no CDN looks",
        "variants are stored under the private prefix, which no CDN reads",
    ),
    (
        "tenants",
        "unmarked_after",
        "packs after this id may have superseded variants not marked; null: none",
        "packs after this id may have superseded variants that are not marked; null: none",
    ),
    (
        "tenants",
        "unplanned_bytes",
        "most bytes of such variants; null: as the installation says",
        "most bytes of unplanned variants; null: the default of the installation",
    ),
    ("tokens", "last_used_at", "to the day", "day of the last use"),
    ("tokens", "sha256", "of the secret, which is kept nowhere", "of the secret, which is not stored"),
    (
        "uploads",
        "image_id",
        "the live image it is bound to; null: none, it was announced by GraphQL",
        "live resize image that the upload is for; null: announced through GraphQL",
    ),
    (
        "uploads",
        "method",
        "how the bytes are sent; null: with a one-time token",
        "how the client sends the bytes; null: with a one-time token",
    ),
    ("url_imports", "faults", "unforeseen exceptions in a row", "consecutive unforeseen exceptions"),
    (
        "url_imports",
        "reason",
        "why the last attempt came to nothing; null: none has",
        "why the last attempt failed; null: no attempt failed",
    ),
    (
        "variants",
        "requested_at",
        "when an unplanned one was last asked for, to the hour",
        "hour in which an unplanned variant was last requested",
    ),
    (
        "webhook_deliveries",
        "error",
        "why the last attempt came to nothing; null: none has",
        "why the last attempt failed; null: no attempt failed",
    ),
    ("webhook_deliveries", "faults", "unforeseen exceptions in a row", "consecutive unforeseen exceptions"),
)


# Table by table and column by column, not in a batch: on SQLite a batch copies the table, and dropping the old one
# deletes every row that refers to it.
def upgrade() -> None:
    for old, new, referred in _TABLES:
        _rename_table(old, new, referred)
    for table, old, new in _COLUMNS:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {old} TO {new}")
    for table, column, _, comment in _COMMENTS:
        _set_comment(table, column, comment)


def downgrade() -> None:
    for table, column, comment, _ in _COMMENTS:
        _set_comment(table, column, comment)
    for table, old, new in _COLUMNS:
        op.execute(f"ALTER TABLE {table} RENAME COLUMN {new} TO {old}")
    for old, new, referred in _TABLES:
        _rename_table(new, old, referred)


def _rename_table(old: str, new: str, referred: Sequence[str]) -> None:
    op.rename_table(old, new)
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT pk_{old} TO pk_{new}")
        for other in referred:
            op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT fk_{old}_{other} TO fk_{new}_{other}")
    # SQLite can rename neither indexes nor constraints. No statement names a constraint, so those keep their names.
    for table, name, columns, where in _INDEXES:
        if table in (old, new):
            op.drop_index(f"ix_{old}_{name}", new)
            op.create_index(f"ix_{new}_{name}", new, columns, sqlite_where=where, postgresql_where=where)


def _set_comment(table: str, column: str, comment: str | None) -> None:
    if op.get_bind().dialect.name == "postgresql":
        text = "NULL" if comment is None else "'" + comment.replace("'", "''") + "'"
        op.execute(sa.text(f"COMMENT ON COLUMN {table}.{column} IS " + text.replace(":", "\\:")))
