"""The order of renders, without any process."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import pytest

from packshot.render.processes.lanes import ANY_CLIENT, Lane, Lanes, LoadShare, Pulse, QueueTimeout, RendererClosed


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a condition that soon becomes true; fail otherwise."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.005)


class Caller:
    """A thread that holds a process slot until `go` is set."""

    def __init__(self, lanes: Lanes, lane: Lane, log: list[str], name: str) -> None:
        self.go = threading.Event()
        self.error: BaseException | None = None
        self._run = (lanes, lane, log, name)
        self.thread = threading.Thread(target=self._hold, daemon=True)

    def _hold(self) -> None:
        lanes, lane, log, name = self._run
        try:
            with lanes.place(lane):
                log.append(name)
                assert self.go.wait(30)
        except BaseException as error:  # noqa: BLE001
            self.error = error


class Crowd:
    def __init__(self, lanes: Lanes) -> None:
        self.lanes = lanes
        self.log: list[str] = []
        self.callers: dict[str, Caller] = {}

    def runs(self, name: str, lane: Lane) -> None:
        self._start(name, lane)
        until(lambda: name in self.log)

    def waits(self, name: str, lane: Lane) -> None:
        before = self.lanes.waiting()
        self._start(name, lane)
        until(lambda: self.lanes.waiting() == before + 1)

    def goes(self, name: str) -> None:
        self.callers[name].go.set()
        self.callers[name].thread.join(30)

    def has_last(self, name: str) -> bool:
        """Return whether this caller was the last to get a process slot."""
        return self.log[-1] == name

    def _start(self, name: str, lane: Lane) -> None:
        self.callers[name] = Caller(self.lanes, lane, self.log, name)
        self.callers[name].thread.start()


@contextmanager
def crowd(processes: int) -> Iterator[Crowd]:
    people = Crowd(Lanes(processes))
    try:
        yield people
    finally:
        for caller in people.callers.values():
            caller.go.set()
        for caller in people.callers.values():
            caller.thread.join(30)
            assert not caller.thread.is_alive()


def test_the_most_urgent_lane_goes_first_then_the_first_caller() -> None:
    with crowd(processes=1) as people:
        people.runs("first", Lane.BULK)
        people.waits("bulk", Lane.BULK)
        people.waits("interactive", Lane.INTERACTIVE)
        people.waits("demand 1", Lane.ON_DEMAND)
        people.waits("demand 2", Lane.ON_DEMAND)
        order = ["first", "demand 1", "demand 2", "interactive", "bulk"]
        for name, following in pairwise(order):
            people.goes(name)
            until(partial(people.has_last, following))
        assert people.log == order


def test_bulk_work_leaves_one_process_slot_free() -> None:
    with crowd(processes=3) as people:
        people.runs("bulk 1", Lane.BULK)
        people.runs("bulk 2", Lane.BULK)
        people.waits("bulk 3", Lane.BULK)
        people.runs("demand", Lane.ON_DEMAND)
        people.goes("demand")
        assert people.lanes.waiting() == 1
        people.goes("bulk 1")
        until(lambda: "bulk 3" in people.log)


def test_no_more_renders_run_than_there_are_process_slots() -> None:
    with crowd(processes=2) as people:
        people.runs("a", Lane.ON_DEMAND)
        people.runs("b", Lane.INTERACTIVE)
        people.waits("c", Lane.ON_DEMAND)
        assert people.log == ["a", "b"]


def test_closing_refuses_waiting_and_new_callers() -> None:
    with crowd(processes=1) as people:
        people.runs("running", Lane.BULK)
        people.waits("waiting", Lane.BULK)
        people.lanes.close()
        people.callers["waiting"].thread.join(30)
        assert isinstance(people.callers["waiting"].error, RendererClosed)
        with pytest.raises(RendererClosed), people.lanes.place(Lane.ON_DEMAND):
            pytest.fail("the call got a process slot")
        assert people.callers["running"].error is None


def test_a_heartbeat_runs_while_waiting_and_its_error_ends_the_wait() -> None:
    with crowd(processes=1) as people:
        people.runs("running", Lane.BULK)
        beats: list[int] = []

        def beat() -> None:
            beats.append(1)
            if len(beats) == 3:
                raise KeyError("the lease is gone")

        with pytest.raises(KeyError), people.lanes.place(Lane.BULK, Pulse(beat, 0.01)):
            pytest.fail("the call got a process slot")
        assert len(beats) == 3
        assert people.lanes.waiting() == 0


def is_free(lanes: Lanes, lane: Lane, share: LoadShare = ANY_CLIENT) -> bool:
    try:
        with lanes.place(lane, share=share, patience=0):
            return True
    except QueueTimeout:
        return False


def test_a_caller_waits_no_longer_than_its_patience() -> None:
    lanes = Lanes(1)
    with lanes.place(Lane.BULK):
        with pytest.raises(QueueTimeout), lanes.place(Lane.ON_DEMAND, patience=0.01):
            pass
        assert lanes.waiting() == 0
    assert is_free(lanes, Lane.ON_DEMAND)


def test_one_original_never_takes_all_process_slots() -> None:
    lanes, slow = Lanes(3), LoadShare("a", "1" * 64)
    with lanes.place(Lane.ON_DEMAND, share=slow):
        assert not is_free(lanes, Lane.ON_DEMAND, slow)
        assert is_free(lanes, Lane.ON_DEMAND, LoadShare("a", "2" * 64))
    with lanes.place(Lane.BULK, share=slow), lanes.place(Lane.INTERACTIVE, share=slow):
        assert not is_free(lanes, Lane.ON_DEMAND, slow)
        assert is_free(lanes, Lane.ON_DEMAND, LoadShare("a", "2" * 64))


@pytest.mark.parametrize("lane", [Lane.ON_DEMAND, Lane.INTERACTIVE])
def test_one_tenant_never_takes_all_process_slots(lane: Lane) -> None:
    lanes = Lanes(3)
    with lanes.place(lane, share=LoadShare("a", "1" * 64)), lanes.place(lane, share=LoadShare("a", "2" * 64)):
        assert not is_free(lanes, lane, LoadShare("a", "3" * 64))
        assert is_free(lanes, lane, LoadShare("b", "3" * 64))
        assert is_free(lanes, Lane.BULK, LoadShare("b", "3" * 64))


def test_slow_on_demand_renders_leave_process_slots_to_quick_ones() -> None:
    lanes = Lanes(3)
    with lanes.place(Lane.ON_DEMAND, share=LoadShare("a", "1" * 64, slow=True)):
        assert not is_free(lanes, Lane.ON_DEMAND, LoadShare("b", "2" * 64, slow=True))
        assert is_free(lanes, Lane.ON_DEMAND, LoadShare("a", "2" * 64))
        assert is_free(lanes, Lane.INTERACTIVE, LoadShare("b", "2" * 64, slow=True))


def test_bulk_work_does_not_delay_urgent_renders_of_the_same_tenant() -> None:
    lanes = Lanes(3)
    with lanes.place(Lane.BULK, share=LoadShare("a", "1" * 64)), lanes.place(Lane.BULK, share=LoadShare("a", "2" * 64)):
        assert is_free(lanes, Lane.ON_DEMAND, LoadShare("a", "3" * 64))


def test_an_upload_of_a_tenant_does_not_wait_for_its_edits() -> None:
    lanes = Lanes(3)
    shares = [LoadShare("a", f"{number}" * 64) for number in range(4)]
    with lanes.place(Lane.INTERACTIVE, share=shares[0]), lanes.place(Lane.INTERACTIVE, share=shares[1]):
        assert not is_free(lanes, Lane.INTERACTIVE, shares[2])
        assert is_free(lanes, Lane.UPLOAD, shares[2])


def test_a_slow_on_demand_render_leaves_the_last_process_slot_beside_edits_free() -> None:
    lanes = Lanes(3)
    shares = [LoadShare("a", f"{number}" * 64) for number in range(3)]
    slow = LoadShare("a", "9" * 64, slow=True)
    with lanes.place(Lane.INTERACTIVE, share=shares[0]), lanes.place(Lane.INTERACTIVE, share=shares[1]):
        assert not is_free(lanes, Lane.ON_DEMAND, slow)
        assert is_free(lanes, Lane.ON_DEMAND, shares[2])
    with lanes.place(Lane.BULK, share=shares[0]), lanes.place(Lane.BULK, share=shares[1]):
        assert is_free(lanes, Lane.ON_DEMAND, slow)
