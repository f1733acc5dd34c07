"""CPU time of a render process."""

import time


class CpuClock:
    """Measures the CPU seconds of this process from the moment when it is made.

    While a timer limits the CPU time of a process, the kernel reads the process's clock only at its ticks, a few
    milliseconds apart. The thread's own clock stays exact, but does not count a codec's other threads.
    """

    def __init__(self) -> None:
        self._process, self._thread = time.process_time(), time.thread_time()

    def seconds(self) -> float:
        """Return the CPU seconds since the clock was made: the greater of both clocks."""
        return max(time.process_time() - self._process, time.thread_time() - self._thread)
