"""Measure the CPU time of a render process."""

import time


class CpuClock:
    """Measure the CPU seconds of this process since the clock was created.

    While a timer limits the CPU time of a process, the kernel updates the process's clock only at its ticks, a few
    milliseconds apart. The thread's clock stays exact, but excludes other threads of a codec.
    """

    def __init__(self) -> None:
        self._process, self._thread = time.process_time(), time.thread_time()

    def seconds(self) -> float:
        """Return the CPU seconds since the clock was created: the greater of both clocks."""
        return max(time.process_time() - self._process, time.thread_time() - self._thread)
