"""The costs of a change of configuration: the shapes of packs, and render costs.

Shapes are written for all existing packs. If a process of an earlier release edits a pack meanwhile, the pack's
version differs from that of its shape, and the pack is planned by itself.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# The same text that `packshot.catalog.packs.shapes` writes. A different text would only divide a group of packs.
_SLOT = " || '|' || ".join(
    f"coalesce(CAST({part} AS TEXT), '')"
    for part in (
        "s.location",
        "(SELECT min(t.location) FROM pack_locations t WHERE t.tenant_id = s.tenant_id AND t.pack_id = s.pack_id"
        " AND t.original_sha256 = s.original_sha256)",
        *(f"o.{name}" for name in ("width", "height", "format", "alpha", "frames")),
        *(f"s.crop_{edge}" for edge in ("left", "top", "right", "bottom")),
        *(f"s.{name}" for name in ("focus_x", "focus_y", "resize_gravity", "include_all")),
    )
)
_HELD = (
    f"(SELECT {{aggregate}}({_SLOT}, ';') FROM pack_locations s LEFT JOIN originals o"  # noqa: S608
    " ON o.tenant_id = s.tenant_id AND o.sha256 = s.original_sha256"
    " WHERE s.tenant_id = packs.tenant_id AND s.pack_id = packs.id)"
)
_PACK = " || '|' || ".join(
    f"coalesce(CAST({part} AS TEXT), '')" for part in ("main_location", "resize_gravity", "include_all", _HELD)
)


def upgrade() -> None:
    op.create_table(
        "rates",
        sa.Column("kind", sa.String(length=16), nullable=False, comment="a format, or decoding"),
        sa.Column(
            "size",
            sa.SmallInteger(),
            nullable=False,
            comment="0 the smallest variants, each next up to four times",
        ),
        sa.Column("megapixels", sa.Double(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False, comment="of CPU time"),
        sa.Column("bytes", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", "size", name=op.f("pk_rates")),
    )
    shape = sa.Column(
        "shape", sa.Text(), comment="alike in packs of which the same is planned, whatever the configuration"
    )
    op.add_column("packs", shape)
    op.add_column(
        "packs", sa.Column("shape_version", sa.Integer(), comment="the pack's version when it had that shape")
    )
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    text = _PACK.format(aggregate="string_agg" if on_postgresql else "group_concat")
    text = f"md5({text})" if on_postgresql else text
    op.execute(f"UPDATE packs SET shape = {text}, shape_version = version")  # noqa: S608


def downgrade() -> None:
    # Not in a batch: on SQLite that copies the table, and dropping the old one deletes the rows that refer to it.
    op.drop_column("packs", "shape_version")
    op.drop_column("packs", "shape")
    op.drop_table("rates")
