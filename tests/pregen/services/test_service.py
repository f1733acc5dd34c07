"""Services: they repeat a step until they are stopped, survive faults, and finish once."""

import threading
import time

import pytest

from pregen.services.service import Service

PATIENCE = 10.0


class CountingService(Service):
    """Counts its steps. The first one raises an exception, and `more` says whether further ones follow at once."""

    def __init__(self, *, more: int = 0, threads: int = 1, patience: float | None = None) -> None:
        super().__init__("counter", interval=60.0, threads=threads, patience=patience)
        self.steps = 0
        self.finished = 0
        self.more = more
        self.stepped = threading.Semaphore(0)
        self.held = threading.Event()
        self.held.set()

    def step(self) -> bool:
        self.steps += 1
        self.stepped.release()
        self.held.wait()
        if self.steps == 1:
            raise LookupError("an unforeseen fault")
        return self.steps <= self.more

    def finish(self) -> None:
        self.finished += 1


def test_a_fault_does_not_end_a_service(caplog: pytest.LogCaptureFixture) -> None:
    service = CountingService(more=3)
    service.start()
    assert service.stepped.acquire(timeout=PATIENCE)
    service.wake()
    # While there is more work, no step waits for the interval.
    for _ in range(3):
        assert service.stepped.acquire(timeout=PATIENCE)
    service.stop()
    service.join()
    assert (service.steps, service.finished) == (4, 1)
    assert "the counter could not take its step" in caplog.text


def test_join_waits_no_longer_than_its_patience_in_all() -> None:
    service = CountingService(threads=4, patience=0.5)
    service.held.clear()
    service.start()
    for _ in range(4):
        assert service.stepped.acquire(timeout=PATIENCE)
    service.stop()
    began = time.monotonic()
    service.join()
    assert time.monotonic() - began < 1.9
    assert service.finished == 1
    service.held.set()


def test_a_service_that_never_started_can_be_stopped() -> None:
    service = CountingService()
    service.stop()
    service.join()
    assert (service.steps, service.finished) == (0, 1)
