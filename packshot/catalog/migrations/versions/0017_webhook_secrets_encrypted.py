"""Encrypt webhook secrets: `packshot.security.sealing.seal_webhooks` has the key and encrypts plain ones."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0017"
down_revision: str | None = "0016"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("sealed", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    # Without the key their deliveries can no longer be signed.
    op.execute("DELETE FROM webhooks WHERE sealed IS NOT NULL")
    op.drop_column("webhooks", "sealed")
