"""Packs are ordered by their oldest variant, each once, for portions of any size."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from packshot.catalog.tables.artwork import variants
from packshot.catalog.variants import render_age
from tests.support.playground import TENANT, Playground

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def aged(playground: Playground) -> list[str]:
    """Seven packs of four variants. The oldest variants of pack number n were rendered n days ago."""
    ids = [f"{number:024x}" for number in range(7)]
    place = {"tenant_id": TENANT, "location": "main", "fingerprint": "f" * 24, "state": "ready", "planned": True}
    rest = {"attempts": 0, "created_at": MOMENT, "bytes": 1, "sha256": "0" * 64}
    rows = [
        {**place, **rest, "pack_id": pack_id, "plan": plan, "rendered_at": MOMENT - timedelta(days=days * factor)}
        for days, pack_id in enumerate(ids)
        for plan, factor in (("a.jpg", 1), ("b.jpg", 0.5))
    ]
    # Several of the same time, as a batch writes them.
    rows += [{**row, "plan": f"also-{row['plan']}"} for row in rows]
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.insert(variants), rows)
    return ids


@pytest.mark.parametrize("portion", [1, 2, 3, 100])
def test_each_pack_comes_once_and_the_oldest_first(playground: Playground, aged: list[str], portion: int) -> None:
    with playground.site.catalog.read(TENANT) as tx:
        before = MOMENT - timedelta(days=1)
        found = list(render_age.iterate_oldest(tx, before, pack_ids=None, location=None, portion=portion))
        assert [pack_id for part in found for pack_id in part] == aged[:1:-1], "not older than the day itself"
        assert all(1 <= len(part) <= portion for part in found)
        some = render_age.iterate_oldest(tx, before, pack_ids=aged[3:5], location="main", portion=portion)
        assert [pack_id for part in some for pack_id in part] == [aged[4], aged[3]]
        assert list(render_age.iterate_oldest(tx, before, pack_ids=None, location="thumb", portion=portion)) == []
