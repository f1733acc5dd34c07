"""What repeated faults write into the log."""

import logging
import time

import pytest

from packshot.faults import MAX_LINES, FaultLog

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


def test_an_outage_has_one_traceback_whoever_meets_it(caplog: pytest.LogCaptureFixture) -> None:
    def away() -> Exception:
        try:
            raise ConnectionRefusedError("no store")
        except OSError as error:
            return error

    faults = FaultLog(window=60)
    for loop in ("dispatcher", "fetcher", "eraser"):
        for _ in range(9):
            faults.count(log, away(), f"the {loop} could not take its step")
    assert [record.exc_info is not None for record in caplog.records] == [True, False, False]
    faults.end_windows()
    counts = [record.getMessage() for record in caplog.records[3:]]
    assert len(counts) == 3
    assert all(count.startswith("8 more of this kind since error id") for count in counts)


def test_many_faults_of_one_kind_get_ids_that_lead_to_the_first_but_no_lines(caplog: pytest.LogCaptureFixture) -> None:
    faults = FaultLog(window=60)
    ids = [faults.record(log, raised(number), "a step failed") for number in range(1000)]
    assert len(set(ids)) == 1000
    assert len(caplog.records) == MAX_LINES
    assert all(any(error_id.partition("-")[0] in record.getMessage() for record in caplog.records) for error_id in ids)


def test_an_exception_that_several_layers_record_has_one_line(caplog: pytest.LogCaptureFixture) -> None:
    faults, error = FaultLog(window=60), raised(1)
    assert faults.record(log, error, "inside") == faults.record(log, error, "outside")
    faults.count(log, error, "further outside")
    assert len(caplog.records) == 1


def test_a_fault_that_repeats_is_counted_and_the_count_is_logged_when_its_window_ends(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr("packshot.faults.time.monotonic", lambda: now[0])
    faults = FaultLog(window=60)
    for number in range(1000):
        faults.count(log, raised(number), "the loop could not take its step")
    assert len(caplog.records) == 1
    now[0] += 61
    faults.count(log, raised(6), "the loop could not take its step")
    assert "999 more of this kind" in caplog.records[1].getMessage()
    assert caplog.records[2].exc_info


def test_the_count_comes_although_no_fault_follows(caplog: pytest.LogCaptureFixture) -> None:
    faults = FaultLog(window=0.05)
    for number in range(5):
        faults.count(log, raised(number), "the loop could not take its step")
    while len(caplog.records) < 2:
        time.sleep(0.01)
    assert "4 more of this kind" in caplog.records[1].getMessage()


def test_kinds_are_forgotten_before_they_fill_the_memory(caplog: pytest.LogCaptureFixture) -> None:
    faults = FaultLog(window=60)
    for number in range(2000):
        faults.count(log, raised(1), f"step {number} failed")
    assert len(faults._kinds) <= 256
