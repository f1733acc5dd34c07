"""Originals that were uploaded through live resize."""

from collections.abc import Iterator, Sequence
from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision: str = "0024"
down_revision: str | None = "0023"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_COMMENT = "uploaded through live resize, or imported from such a service"
_PACKS_AT_ONCE = 1000

_packs = sa.table("packs", *(sa.column(name) for name in ("tenant_id", "id", "external_id")))
_originals = sa.table("pack_originals", *(sa.column(name) for name in ("tenant_id", "pack_id", "sha256", "live")))
_jobs = sa.table("jobs", *(sa.column(name) for name in ("tenant_id", "pack_id", "created_by")))


def upgrade() -> None:
    with op.batch_alter_table("pack_originals") as batch:
        batch.add_column(sa.Column("live", sa.Boolean(), server_default=sa.false(), nullable=False, comment=_COMMENT))
    connection = op.get_bind()
    for tenant_id, pack_id in _live_packs(connection):
        here = (_originals.c.tenant_id == tenant_id, _originals.c.pack_id == pack_id)
        # The first of several originals is not known, so packs that an editor has changed are left out.
        count = connection.scalar(sa.select(sa.func.count()).select_from(_originals).where(*here))
        if count == 1:
            connection.execute(sa.update(_originals).where(*here).values(live=sa.true()))


def _live_packs(connection: sa.Connection) -> Iterator[tuple[str, str]]:
    """Yield the packs that a migration created, by their computed ids, and those whose upload job is still known."""
    uploaded = sa.select(_jobs.c.tenant_id, _jobs.c.pack_id).where(
        _jobs.c.created_by == "live upload", _jobs.c.pack_id.is_not(None)
    )
    for row in connection.execute(uploaded).all():
        yield row.tenant_id, row.pack_id
    after: tuple[str, str] = ("", "")
    while True:
        page = connection.execute(
            sa.select(_packs.c.tenant_id, _packs.c.id, _packs.c.external_id)
            .where(sa.tuple_(_packs.c.tenant_id, _packs.c.id) > sa.tuple_(*map(sa.literal, after)))
            .order_by(_packs.c.tenant_id, _packs.c.id)
            .limit(_PACKS_AT_ONCE)
        ).all()
        for tenant_id, pack_id, external_id in page:
            if external_id is not None and pack_id == _imported_id(external_id):
                yield tenant_id, pack_id
        if len(page) < _PACKS_AT_ONCE:
            return
        after = (page[-1].tenant_id, page[-1].id)


def _imported_id(external_id: str) -> str:
    return sha256(f"iaas {external_id}".encode("utf-8", "surrogatepass")).hexdigest()[:24]


def downgrade() -> None:
    with op.batch_alter_table("pack_originals") as batch:
        batch.drop_column("live")
