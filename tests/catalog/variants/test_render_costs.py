"""Render costs are measured, and old measurements lose weight."""

import pytest

from packshot.catalog.variants.render_costs import (
    HALF_LIFE_MEGAPIXELS,
    RenderCosts,
    Tally,
    kind_of,
    read_costs,
    write_costs,
)
from packshot.model import Format
from tests.support.playground import TENANT, Playground


def learnt(playground: Playground, tally: Tally) -> RenderCosts:
    """Write what was measured, and return the known costs."""
    with playground.site.catalog.write_system() as tx:
        write_costs(tx, tally.take())
    with playground.site.catalog.read(TENANT) as tx:
        return read_costs(tx)


def test_before_anything_is_rendered_there_are_figures_for_every_format(playground: Playground) -> None:
    rates = learnt(playground, Tally())
    for format in Format:
        seconds, size = rates.variant(format, 1_000_000)
        assert 0.01 < seconds < 2
        assert 50_000 < size < 3_000_000
    assert 0.001 < rates.decoding(1_000_000) < 0.1


def test_each_size_has_its_own_rate_and_lends_it_to_its_neighbours(playground: Playground) -> None:
    tally = Tally()
    tally.add(Format.JPEG, 10_000, 0.002, 4_000)
    tally.add(Format.JPEG, 2_000_000, 0.1, 300_000)
    tally.add_decoding(12_000_000, 0.06)
    rates = learnt(playground, tally)
    assert rates.variant(Format.JPEG, 5_000) == pytest.approx((0.001, 2_000))
    assert rates.variant(Format.JPEG, 4_000_000) == pytest.approx((0.2, 600_000))
    assert rates.variant(Format.JPEG, 20_000) == pytest.approx((0.004, 8_000)), "the small one is nearer"
    assert rates.variant(Format.JPEG, 700_000) == pytest.approx((0.035, 105_000)), "the large one is"
    assert rates.decoding(1_000_000) == pytest.approx(0.005)
    assert kind_of(Format.PNG, 1) == ("png", 0)
    assert kind_of(Format.PNG, 10**9) == ("png", 5)


def test_old_figures_fade(playground: Playground) -> None:
    tally = Tally()
    tally.add(Format.WEBP, 1_000_000, 1.0, 100_000)
    learnt(playground, tally)
    megapixels = int(HALF_LIFE_MEGAPIXELS)
    for _ in range(megapixels):
        tally.add(Format.WEBP, 1_000_000, 0.1, 50_000)
    seconds, size = learnt(playground, tally).variant(Format.WEBP, 1_000_000)
    # Earlier measurements count half by now.
    expected = (0.5 * 1.0 + megapixels * 0.1) / (0.5 + megapixels)
    assert seconds == pytest.approx(expected)
    assert 50_000 < size < 51_000


def test_what_was_counted_is_written_once(playground: Playground) -> None:
    tally = Tally()
    tally.add(Format.GIF, 1_000_000, 1.0, 100_000)
    once = learnt(playground, tally).measured
    assert tally.take() == {}
    assert learnt(playground, tally).measured == once
