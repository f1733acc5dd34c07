"""The catalog's clock, which a test moves."""

from datetime import datetime, timedelta

import pytest

from packshot.catalog.database.transaction import Clock


class MovedClock:
    """What `Tx.now` reads while it is in place: the right time, moved as far as the test moved it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._offset = timedelta()
        right = Clock.read

        def read(clock: Clock) -> datetime:
            return right(clock) + self._offset

        monkeypatch.setattr(Clock, "read", read)

    def move(self, by: timedelta) -> None:
        """Move it on, or back."""
        self._offset += by


class StoppedClock(Clock):
    """The clock of a transaction that reads one moment."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment
