"""Varnish is purged by tags: softly if a stale image is acceptable while the application is down, hard otherwise."""

from collections.abc import Iterator

import pytest

from packshot.cdn.varnish import MAX_LINE_BYTES, VarnishPurger
from tests.servers.varnish import Varnish, running


@pytest.fixture
def varnishes() -> Iterator[tuple[Varnish, Varnish]]:
    with running() as one, running() as other:
        yield one, other


def purger_of(*varnishes: Varnish) -> VarnishPurger:
    return VarnishPurger([varnish.url for varnish in varnishes])


def test_every_varnish_is_purged(varnishes: tuple[Varnish, Varnish]) -> None:
    purger = purger_of(*varnishes)
    taken = purger.purge(["p:default:a", "l:default:thumb"], reference="1", erasing=False)
    assert purger.is_complete(taken)
    for varnish in varnishes:
        assert varnish.purged == [("soft", ("p:default:a", "l:default:thumb"))]


def test_an_erasure_leaves_no_stale_copy(varnishes: tuple[Varnish, Varnish]) -> None:
    purger_of(*varnishes).purge(["e:default:a"], reference="1", erasing=True)
    assert [varnish.purged for varnish in varnishes] == [[("hard", ("e:default:a",))]] * 2


def test_many_tags_are_sent_in_several_requests(varnishes: tuple[Varnish, Varnish]) -> None:
    tags = [f"p:{'t' * 63}:{number:024x}" for number in range(VarnishPurger.most_tags)]
    purger_of(varnishes[0]).purge(tags, reference="1", erasing=False)
    asked = varnishes[0].purged
    assert len(asked) > 1
    assert [tag for _, portion in asked for tag in portion] == tags
    assert all(len(" ".join(portion)) <= MAX_LINE_BYTES for _, portion in asked)


def test_a_varnish_that_refuses_or_is_down_is_an_outage_with_advice(varnishes: tuple[Varnish, Varnish]) -> None:
    well, ill = varnishes
    purger = purger_of(ill, well)
    ill.status = 405
    with pytest.raises(OSError, match=rf"{ill.url} answers a purge with 405: allow this machine"):
        purger.purge(["p:default:a"], reference="1", erasing=False)
    with pytest.raises(OSError, match="405"):
        purger.check()
    ill.status = 200
    purger.purge(["p:default:a"], reference="1", erasing=False)
    assert well.purged == [("soft", ("p:default:a",))]
    assert purger.check() == "Varnish, 2 of 2 take purges"
    with running() as gone:
        pass
    with pytest.raises(OSError, match=rf"{gone.url} does not answer: start it, or correct PACKSHOT_VARNISH_URLS"):
        purger_of(well, gone).purge(["p:default:a"], reference="1", erasing=False)
