"""What repeated faults write into the log."""

import logging

import pytest

from packshot.faults import FaultLog

log = logging.getLogger("tests.faults")


def raised(number: int) -> Exception:
    try:
        raise ValueError(f"number {number}")
    except ValueError as error:
        return error


def test_each_fault_has_its_own_id_and_one_traceback_serves_them_all(caplog: pytest.LogCaptureFixture) -> None:
    faults = FaultLog(window=60)
    ids = [faults.record(log, raised(number), "a step of %s failed", "the test") for number in range(20)]
    assert len(set(ids)) == 20
    assert all(error_id in record.getMessage() for error_id, record in zip(ids, caplog.records, strict=True))
    assert [record.exc_info is not None for record in caplog.records] == [True] + [False] * 19
    assert "number 7" in caplog.records[7].getMessage()
    assert ids[0] in caplog.records[7].getMessage()


def test_another_kind_of_fault_has_its_own_traceback(caplog: pytest.LogCaptureFixture) -> None:
    faults = FaultLog(window=60)
    faults.record(log, raised(1), "one step failed")
    faults.record(log, raised(1), "another step failed")
    faults.record(log, OSError("away"), "one step failed")
    assert all(record.exc_info for record in caplog.records)


def test_a_fault_that_repeats_is_counted_and_the_count_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    faults = FaultLog(window=60)
    for number in range(1000):
        faults.count(log, raised(number), "the loop could not take its step")
    assert len(caplog.records) == 1
    ended = FaultLog(window=0)
    ended.count(log, raised(1), "the loop could not take its step")
    ended.count(log, raised(2), "the loop could not take its step")
    assert len(caplog.records) == 3


def test_the_next_window_says_how_many_were_not_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("packshot.faults.time.monotonic", lambda: now[0])
    faults = FaultLog(window=60)
    for number in range(5):
        faults.count(log, raised(number), "the loop could not take its step")
    now[0] += 61
    faults.count(log, raised(6), "the loop could not take its step")
    assert "4 more of this kind" in caplog.records[-1].getMessage()


def test_kinds_are_forgotten_before_they_fill_the_memory(caplog: pytest.LogCaptureFixture) -> None:
    faults = FaultLog(window=60)
    for number in range(2000):
        faults.count(log, raised(1), f"step {number} failed")
    assert len(faults._kinds) <= 256
