"""Each original keeps the cost of its decoding, or the reason of its refusal."""

import time
from dataclasses import replace
from datetime import timedelta

from packshot.catalog.variants.decoding import Decoding, write_decodings
from packshot.catalog.variants.ledger import StoredVariant
from packshot.catalog.variants.render_costs import RenderCosts
from packshot.errors import RenderTimeout
from packshot.model import FAILURE_SECONDS, Format, Original
from packshot.production import announce_and_render
from packshot.render.processes.pool import Lane
from pregen.services.cost_recorder import record_costs
from tests.support.clock import StoppedClock
from tests.support.pictures import animated, photo
from tests.support.playground import TENANT, Playground


def original_of(playground: Playground, pack_id: str) -> Original:
    original = playground.snapshot(pack_id).pack_location("main").original
    assert original is not None
    return original


def decoded(playground: Playground, pack_id: str, found: Decoding) -> Original:
    original = original_of(playground, pack_id)
    playground.site.decoding.add(TENANT, original, found)
    record_costs(playground.site)
    return original_of(playground, pack_id)


def test_what_decoding_took_is_known_from_the_upload_on(playground: Playground) -> None:
    seconds = original_of(playground, playground.pack()).decoding_seconds
    assert seconds is not None
    assert seconds > 0


def test_a_larger_cost_counts_at_once_and_a_smaller_one_by_half(playground: Playground) -> None:
    pack_id = playground.pack()
    assert decoded(playground, pack_id, Decoding(8.0)).decoding_seconds == 8.0
    assert decoded(playground, pack_id, Decoding(4.0)).decoding_seconds == 6.0
    # Very small differences are not written.
    assert decoded(playground, pack_id, Decoding(5.9)).decoding_seconds == 6.0


def test_a_costly_original_is_foretold_by_its_own_cost(playground: Playground) -> None:
    pack_id = playground.pack()
    costly = decoded(playground, pack_id, Decoding(8.0))
    assert RenderCosts({}).rendering(costly, Format.AVIF, 10_000, moves=False) > 8.0
    playground.show(pack_id, "main", animated("GIF", 4))
    moving = decoded(playground, pack_id, Decoding(8.0))
    assert 2.0 < RenderCosts({}).rendering(moving, Format.JPEG, 10_000, moves=False) < 2.1
    assert RenderCosts({}).rendering(moving, Format.GIF, 10_000, moves=True) > 8.0


def test_a_refusal_is_kept_for_a_time_and_ends_with_the_first_success(playground: Playground) -> None:
    pack_id = playground.pack()
    refused = decoded(playground, pack_id, Decoding(failure=RenderTimeout("It takes too long.", expected="less")))
    failure = refused.recent_failure
    assert isinstance(failure, RenderTimeout)
    assert failure.expected == "less"
    assert decoded(playground, pack_id, Decoding(0.1)).recent_failure is None
    with playground.site.catalog.write(TENANT) as tx:
        long_ago = replace(tx, clock_reader=StoppedClock(tx.now - timedelta(seconds=FAILURE_SECONDS + 1)))
        write_decodings(long_ago, {refused.sha256: Decoding(failure=failure)})
    assert original_of(playground, pack_id).failure is not None
    assert original_of(playground, pack_id).recent_failure is None


def test_an_upload_of_the_same_bytes_ends_a_refusal(playground: Playground) -> None:
    pack_id = playground.pack(picture=photo(60, 40))
    decoded(playground, pack_id, Decoding(failure=RenderTimeout("It takes too long.")))
    playground.pack(picture=photo(60, 40))
    assert original_of(playground, pack_id).failure is None


def test_a_render_learns_too(playground: Playground) -> None:
    # An image that no render process has decoded before.
    pack_id = playground.pack(picture=photo(600, 400, seed=time.monotonic_ns() % 2**32))
    before = decoded(playground, pack_id, Decoding(100.0)).decoding_seconds
    targets = list(playground.planned(pack_id).values())
    assert all(
        isinstance(one, StoredVariant) for one in announce_and_render(playground.site, targets, Lane.BULK, planned=True)
    )
    record_costs(playground.site)
    after = original_of(playground, pack_id).decoding_seconds
    assert before == 100.0
    assert after is not None
    assert 50.0 < after < 51.0
