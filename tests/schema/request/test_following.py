"""Subscriptions to packs: their number, how often a change is read, and their cost."""

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
# The cost of one event: the pack, ten locations, and five for the variants of each.
COST = 1 + 10 * (1 + 5)


@pytest.fixture
def database_url() -> None:
    """SQLite is enough: the reads have their own tests on every database."""


@pytest.fixture(autouse=True)
def short_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check for changes more often, to keep the tests short."""
    monkeypatch.setattr(live_updates, "INTERVAL_SECONDS", 0.01)


class Followers:
    """Subscriptions of one user to one pack, each with its own connection."""

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


async def next_pack(follower: AsyncGenerator[Any, None]) -> Any:
    """Return the pack in the next event."""
    event = await asyncio.wait_for(anext(follower), 30)
    assert event.errors is None
    return event.data["packChanged"]


def test_a_change_is_read_once_for_any_number_of_subscriptions(api: Api) -> None:
    pack_id = api.playground.pack()

    async def count(number: int) -> int:
        followers = Followers(api, pack_id)
        following = [await followers.follow() for _ in range(number)]
        for each in following:
            await next_pack(each)
        with statements(api.playground.site.catalog) as seen:
            await asyncio.to_thread(followers.edit, number)
            assert {(await next_pack(each))["assetId"] for each in following} == {number}
        for each in following:
            await each.aclose()
        # Reads of the pack and of the states of its variants.
        return sum("FROM packs JOIN tenants" in text or "FROM variants" in text for text in seen)

    assert asyncio.run(count(10)) == asyncio.run(count(1))


def test_the_number_of_subscriptions_of_a_user_is_limited(api: Api) -> None:
    followers = Followers(api, api.playground.pack(), subscriptions_per_user=3)

    async def act() -> None:
        following = [await followers.follow() for _ in range(3)]
        for each in following:
            await next_pack(each)
        one_more = await followers.follow()
        refused = await anext(one_more)
        assert refused.errors[0].extensions["code"] == "LIMIT"
        assert "3" in refused.errors[0].extensions["expected"]
        await following[0].aclose()
        await next_pack(await followers.follow())

    asyncio.run(act())


def test_events_cost_budget_and_wait_until_it_is_restored(api: Api) -> None:
    followers = Followers(api, api.playground.pack(), query_budget=2 * COST, query_budget_per_second=100 * COST)

    async def act() -> None:
        # The budget is enough for two events while the clock stands still.
        now = [0.0]
        followers.budgets = Budgets(followers.site.settings, clock=lambda: now[0])
        following = await followers.follow()
        await next_pack(following)
        await asyncio.to_thread(followers.edit, 1)
        assert (await next_pack(following))["assetId"] == 1
        assert followers.budgets.available("default", "tester") == 0
        waiting = asyncio.create_task(next_pack(following))
        for asset_id in range(2, 8):
            await asyncio.to_thread(followers.edit, asset_id)
            await asyncio.sleep(0.02)
        assert not waiting.done()
        now[0] = 10
        assert (await waiting)["assetId"] == 7, "the event contains the latest change"
        await following.aclose()

    asyncio.run(act())


def test_events_of_all_users_share_a_rate_limit() -> None:
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


def test_a_pack_without_subscriptions_uses_no_memory(api: Api) -> None:
    followers = Followers(api, api.playground.pack())

    async def act() -> None:
        following = await followers.follow()
        await next_pack(following)
        await following.aclose()
        kept = ("_followers", "_seen", "_differed", "_readers", "_subscriptions")
        assert [len(getattr(followers.watch, name)) for name in kept] == [0] * len(kept)

    asyncio.run(act())
