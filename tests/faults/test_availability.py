"""Availability: after one caller has waited for a silent service in vain, others do not wait behind each other."""

import threading

import pytest

from packshot import availability
from packshot.availability import Availability
from tests.support.admin import wait_for


class Silent(Exception):
    pass


def outage(error: Exception) -> Silent | None:
    return Silent() if isinstance(error, Silent) else None


def fail(service: Availability, error: Exception) -> None:
    with pytest.raises(type(error)), service.trying():
        raise error


def test_callers_fail_at_once_while_one_tries_and_go_on_when_it_succeeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "OTHERS_SECONDS", 0.0)
    service = Availability(outage, slow_seconds=0.0)
    fail(service, Silent())
    with service.trying() as is_probe:
        assert is_probe
        for _ in range(3):
            with pytest.raises(Silent), service.trying():
                pytest.fail("a second call was made")
    with service.trying() as is_probe, service.trying() as is_another:
        assert not is_probe
        assert not is_another


def test_callers_wait_for_the_outcome_of_an_attempt_that_has_just_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "OTHERS_SECONDS", 60.0)
    service = Availability(outage, slow_seconds=0.0)
    fail(service, Silent())
    answered = []

    def call() -> None:
        with service.trying() as is_probe:
            answered.append(is_probe)

    with service.trying():
        waiting = threading.Thread(target=call)
        waiting.start()
    waiting.join(30)
    assert answered == [False]


def test_callers_fail_with_the_attempt_that_they_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "OTHERS_SECONDS", 60.0)
    service = Availability(outage, slow_seconds=0.0)
    fail(service, Silent())
    calls = []

    def call() -> None:
        with pytest.raises(Silent), service.trying():
            calls.append(1)

    waiting = [threading.Thread(target=call) for _ in range(8)]

    def fail_later() -> None:
        with service.trying():
            for thread in waiting:
                thread.start()
            wait_for(lambda: len(service._changed._waiters) == 8)  # type: ignore[attr-defined]
            raise Silent

    with pytest.raises(Silent):
        fail_later()
    for thread in waiting:
        thread.join(30)
    assert calls == []


def test_an_outage_that_is_noticed_at_once_stops_nobody() -> None:
    service = Availability(outage, slow_seconds=60.0)
    fail(service, Silent())
    with service.trying() as is_probe:
        assert not is_probe


def test_a_refusal_shows_that_the_service_answers() -> None:
    service = Availability(outage, slow_seconds=0.0)
    fail(service, Silent())
    fail(service, ValueError())
    with service.trying() as is_probe:
        assert not is_probe
