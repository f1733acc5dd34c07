"""The catalog's clock, which a test moves."""

from datetime import datetime, timedelta

import pytest

from packshot.catalog.database.transaction import Clock


class MovedClock:
    """Replaces the time of `Tx.now` with the real time plus the test's offset."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._offset = timedelta()
        right = Clock.read

        def read(clock: Clock) -> datetime:
            return right(clock) + self._offset

        monkeypatch.setattr(Clock, "read", read)

    def move(self, by: timedelta) -> None:
        """Move the clock forward or, by a negative time, back."""
        self._offset += by


class StoppedClock(Clock):
    """The clock of a transaction, which always reads one time."""

    def __init__(self, moment: datetime) -> None:
        self._moment = moment
