"""Fields of one response share a read, and a failing key affects no other."""

import asyncio
from collections.abc import Sequence

import pytest

from schema.request.loaders import BatchingLoader


class Source:
    def __init__(self) -> None:
        self.reads: list[list[int]] = []

    async def read(self, keys: list[int]) -> Sequence[int | Exception]:
        self.reads.append(keys)
        return [ValueError("odd") if key % 2 else key * 10 for key in keys]


def test_keys_that_come_a_few_turns_later_join_the_batch() -> None:
    source = Source()

    async def ask() -> tuple[int | BaseException, ...]:
        gathering = BatchingLoader(source.read)

        async def later(key: int, turns: int) -> int:
            for _ in range(turns):
                await asyncio.sleep(0)
            return await gathering.load(key)

        return await asyncio.gather(later(2, 0), later(4, 2), later(3, 3), return_exceptions=True)

    found = asyncio.run(ask())
    assert list(found[:2]) == [20, 40]
    assert isinstance(found[2], ValueError), "the error belongs to its own key"
    assert source.reads == [[2, 4, 3]]


def test_a_failed_read_fails_every_waiting_field_and_the_next_read_works() -> None:
    source = Source()
    is_away = True

    async def read(keys: list[int]) -> Sequence[int | Exception]:
        if is_away:
            raise OSError("away")
        return await source.read(keys)

    async def ask() -> None:
        nonlocal is_away
        gathering = BatchingLoader(read)
        found = await asyncio.gather(gathering.load(2), gathering.load(4), return_exceptions=True)
        assert [type(each) for each in found] == [OSError, OSError]
        is_away = False
        assert await gathering.load(6) == 60

    asyncio.run(ask())
    assert source.reads == [[6]]


def test_a_cancelled_field_does_not_affect_the_others() -> None:
    source = Source()

    async def ask() -> int:
        gathering = BatchingLoader(source.read)
        given_up, other = asyncio.create_task(gathering.load(2)), asyncio.create_task(gathering.load(4))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        return await other

    assert asyncio.run(ask()) == 40
