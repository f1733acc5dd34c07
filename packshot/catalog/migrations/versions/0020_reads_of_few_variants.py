"""Indexes with which an edit or a page reads only the variants that it needs, and no other unplanned ones."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0020"
down_revision: str | None = "0019"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# Of SQLite and of PostgreSQL.
_SUPERSEDED = ("superseded_at IS NOT NULL",) * 2
_FAILED = ("state = 'failed'",) * 2
_PLANNED = ("planned = 1 AND superseded_at IS NULL", "planned AND superseded_at IS NULL")
_UNPLANNED = ("planned = 0", "NOT planned")


def _create_index(name: str, columns: Sequence[str], where: tuple[str, str]) -> None:
    sqlite, postgresql = map(sa.text, where)
    op.create_index(f"ix_variants_{name}", "variants", columns, sqlite_where=sqlite, postgresql_where=postgresql)


def upgrade() -> None:
    op.drop_index("ix_variants_superseded", "variants")
    for name, columns, where in (
        ("superseded", ["tenant_id", "superseded_at", "pack_id"], _SUPERSEDED),
        ("planned", ["tenant_id", "pack_id"], _PLANNED),
        ("unplanned", ["tenant_id", "pack_id", "location", "fingerprint", "superseded_at"], _UNPLANNED),
        ("failed", ["tenant_id", "pack_id"], _FAILED),
    ):
        _create_index(name, columns, where)


def downgrade() -> None:
    for name in ("superseded", "planned", "unplanned", "failed"):
        op.drop_index(f"ix_variants_{name}", "variants")
    _create_index("superseded", ["superseded_at"], _SUPERSEDED)
