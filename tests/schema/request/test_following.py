"""How many follow a pack, what a change costs then, and who pays for it."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from packshot.settings.settings import Settings
from resolvers import packs
from schema.build import schema
from schema.request import live_updates
from schema.request.budgets import Budgets
from schema.request.context import Context
from schema.request.live_updates import LiveUpdates
from tests.schema.api import Api
from tests.schema.request.test_statements import statements

FOLLOW = "subscription($id: ID!) { packChanged(id: $id) { assetId version locations { name variants { id } } } }"
# By the meter: the pack, ten locations, five for the variants of each.
COST = 1 + 10 * (1 + 5)


@pytest.fixture
def database_url() -> None:
    """SQLite will do: what is read is tried on each database elsewhere."""


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look more often, so that no test waits for long."""
    monkeypatch.setattr(live_updates, "INTERVAL_SECONDS", 0.01)


class Followers:
    """Subscriptions to one pack by one user, over connections of their own."""

    def __init__(self, api: Api, pack_id: str, **settings: Any) -> None:
        self.api = api
        self.pack_id = pack_id
        self.site = api.playground.with_settings(Settings(data=api.playground.settings.data, **settings))
        self.watch = LiveUpdates(self.site)
        self.budgets = Budgets(self.site.settings)

    async def follow(self) -> AsyncGenerator[Any, None]:
        context = Context(self.api.caller, self.watch, budgets=self.budgets)
        return await schema.stream(FOLLOW, context_value=context, variable_values={"id": self.pack_id})

    def edit(self, asset_id: int) -> None:
        packs.update_pack(self.api.caller, self.pack_id, {"asset_id": asset_id})


async def told(follower: AsyncGenerator[Any, None]) -> Any:
    """Return what the next event says of the pack."""
    event = await asyncio.wait_for(anext(follower), 30)
    assert event.errors is None
    return event.data["packChanged"]


def test_a_change_is_read_once_however_many_follow_the_pack(api: Api) -> None:
    pack_id = api.playground.pack()

    async def count(number: int) -> int:
        followers = Followers(api, pack_id)
        following = [await followers.follow() for _ in range(number)]
        for each in following:
            await told(each)
        with statements(api.playground.site.catalog) as seen:
            await asyncio.to_thread(followers.edit, number)
            assert {(await told(each))["assetId"] for each in following} == {number}
        for each in following:
            await each.aclose()
        # What a pack shows, and how its variants stand.
        return sum("FROM packs JOIN tenants" in text or "FROM variants" in text for text in seen)

    assert asyncio.run(count(10)) == asyncio.run(count(1))


def test_a_user_has_so_many_subscriptions_and_no_more(api: Api) -> None:
    followers = Followers(api, api.playground.pack(), subscriptions_per_user=3)

    async def act() -> None:
        following = [await followers.follow() for _ in range(3)]
        for each in following:
            await told(each)
        one_more = await followers.follow()
        refused = await anext(one_more)
        assert refused.errors[0].extensions["code"] == "LIMIT"
        assert "3" in refused.errors[0].extensions["expected"]
        await following[0].aclose()
        await told(await followers.follow())

    asyncio.run(act())


def test_events_are_paid_for_and_told_later_where_too_little_is_left(api: Api) -> None:
    followers = Followers(api, api.playground.pack(), query_budget=2 * COST, query_budget_per_second=100 * COST)

    async def act() -> None:
        # Enough for the first event and one more, until the clock moves.
        now = [0.0]
        followers.budgets = Budgets(followers.site.settings, clock=lambda: now[0])
        following = await followers.follow()
        await told(following)
        await asyncio.to_thread(followers.edit, 1)
        assert (await told(following))["assetId"] == 1
        assert followers.budgets.available("default", "tester") == 0
        waiting = asyncio.create_task(told(following))
        for asset_id in range(2, 8):
            await asyncio.to_thread(followers.edit, asset_id)
            await asyncio.sleep(0.02)
        assert not waiting.done()
        now[0] = 10
        assert (await waiting)["assetId"] == 7, "what changed meanwhile is told with it"
        await following.aclose()

    asyncio.run(act())


def test_events_of_all_users_take_their_turns() -> None:
    now, slept = [100.0], []
    budgets = Budgets(Settings(query_budget=1000, query_budget_per_second=100), clock=lambda: now[0])

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("schema.request.budgets.asyncio.sleep", sleep)
        for user in ("ann", "bob", "cy"):
            asyncio.run(budgets.pay_event("default", user, 50))
        now[0] = 200.0
        asyncio.run(budgets.pay_event("default", "ann", 50))
    assert slept == [0, 1, 2, 0]


def test_no_more_is_kept_of_a_pack_when_nobody_follows_it(api: Api) -> None:
    followers = Followers(api, api.playground.pack())

    async def act() -> None:
        following = await followers.follow()
        await told(following)
        await following.aclose()
        kept = ("_followers", "_seen", "_differed", "_readers", "_subscriptions")
        assert [len(getattr(followers.watch, name)) for name in kept] == [0] * len(kept)

    asyncio.run(act())
