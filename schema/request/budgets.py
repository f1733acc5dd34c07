"""Limit the cost of each caller's operations over time."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from packshot.settings.settings import Settings

MAX_BUDGETS = 10_000


@dataclass(slots=True)
class _Budget:
    available: float
    at: float


class Budgets:
    """The budget of each caller. It refills over time, and lives in this process only.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = settings.query_budget
        self.per_second = settings.query_budget_per_second
        self.largest = min(settings.query_cost_limit, self.size)
        self._clock = clock
        self._next_event = 0.0
        self._budgets: dict[tuple[str, str], _Budget] = {}

    def take(self, tenant: str, subject: str, cost: int) -> float:
        """Take a cost from the budget of a user; return the seconds to wait if the budget is too small."""
        budget = self._refreshed(tenant, subject)
        if cost > budget.available:
            return (cost - budget.available) / self.per_second
        budget.available -= cost
        return 0

    def spend(self, tenant: str, subject: str, cost: int) -> None:
        """Take a cost that arose already, even below zero. The user must wait until the budget is positive again."""
        budget = self._refreshed(tenant, subject)
        budget.available = max(-self.size, budget.available - cost)

    async def pay_event(self, tenant: str, subject: str, cost: int) -> None:
        """Wait until a subscription's event can be paid, and take its cost.

        All events of this process together take at most half of one user's budget per second.
        """
        wait = self.take(tenant, subject, cost)
        while wait:
            await asyncio.sleep(wait)
            wait = self.take(tenant, subject, cost)
        now = self._clock()
        turn = max(now, self._next_event)
        self._next_event = turn + cost / (self.per_second / 2)
        await asyncio.sleep(turn - now)

    def available(self, tenant: str, subject: str) -> int:
        """Return the remaining budget."""
        return max(0, math.floor(self._refreshed(tenant, subject).available))

    def _refreshed(self, tenant: str, subject: str) -> _Budget:
        now = self._clock()
        budget = self._budgets.get((tenant, subject))
        if budget is None:
            if len(self._budgets) >= MAX_BUDGETS:
                # The user who asked least recently has refilled the most.
                self._budgets.pop(next(iter(self._budgets)))
            budget = _Budget(self.size, now)
        else:
            del self._budgets[tenant, subject]
            budget.available = min(self.size, budget.available + (now - budget.at) * self.per_second)
            budget.at = now
        self._budgets[tenant, subject] = budget
        return budget
