"""Run one render process at a time, and replace it when it dies."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import ParamSpec, TypeVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from packshot import faults
from packshot.render.limits import Limits
from packshot.render.processes import child
from packshot.render.processes.answers import ForbiddenAnswer, distrust_children
from packshot.render.processes.environment import keep_secrets_from_children
from packshot.render.processes.lanes import Pulse, RendererClosed

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# Exit code that `multiprocessing` reports if the fork server was killed together with its child.
_SERVER_GONE = 255

# Interval of memory checks on systems that cannot limit the address space.
_LOOK_SECONDS = 0.05

# Attempts of a job. A process may be killed between two jobs, because others use too much memory, or be ended from
# outside during a job. Neither is the image's fault.
_ATTEMPTS = 3
# A process that does not begin its job within this time is replaced.
BEGIN_SECONDS = 20.0


class ProcessDied(Exception):
    """The process died, or was ended by the parent, before the job was done.

    Attributes:
        exitcode: as in `multiprocessing`, negative for a signal. None means that the process hung and the parent
        ended it.
        decoding: whether it was decoding the original. Then no drawing of the original can succeed.
    """

    def __init__(self, exitcode: int | None, *, decoding: bool = False) -> None:
        super().__init__(f"render process died with {exitcode}")
        self.exitcode = exitcode
        self.decoding = decoding


def render_context() -> BaseContext:
    """Return the `multiprocessing` context of render processes, whose answers are not trusted.

    It uses a fork server with a clean environment if the platform has one. Forking this process would copy the locks of
    its threads, its connections and its secrets.
    """
    keep_secrets_from_children()
    distrust_children()
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["packshot.render.processes.preload"])
    return context


class ProcessSlot:
    """A process slot: a pool of one process, which starts with the first job.

    Each process has its own pool for two reasons. The workers of a pebble pool share a pipe and its locks, so a process
    killed at the wrong moment would block all others. And a pool whose idle worker was killed refuses all further jobs.
    Here, either costs one process, and the next job starts another.
    """

    def __init__(self, context: BaseContext, limits: Limits, folders: Sequence[Path] | None = None) -> None:
        self._context = context
        self._limits = limits
        self._folders = folders
        # Shared memory, so that the stage is known even after the process has died.
        self._stage = context.RawValue("i", child.WAITING)
        self._pool: ProcessPool | None = None
        self._pid: ProcessFuture[int] | None = None
        self._wake = threading.Event()
        self._ending = threading.Lock()
        self._closed = False

    def run(self, job: Callable[P, T], seconds: float | None, pulse: Pulse, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `job` in the process, and return its result. Only one caller at a time.

        Args:
            seconds: time after which the process is ended; None means never.
            pulse: is called while waiting. If it raises, the process is ended.

        Raises:
            ProcessDied: the process ended without an answer.
            RendererClosed: closed, or every new process is ended from outside.
            Exception: the job raised it.
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._attempt(job, seconds, pulse, *args, **kwargs)
            except BrokenProcessPool:
                continue
        raise RendererClosed("no render process stays alive")

    def close(self) -> None:
        """End the process. A running job raises `RendererClosed`."""
        self._closed = True
        self._wake.set()
        self._discard()

    def _attempt(
        self, job: Callable[P, T], seconds: float | None, pulse: Pulse, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        self._wake.clear()
        self._stage.value = child.WAITING
        if self._closed:
            raise RendererClosed("the renderer is closed")
        try:
            future = self._submit(job, *args, **kwargs)
            future.add_done_callback(lambda _: self._wake.set())
            self._await(future, seconds, pulse)
            error = future.exception()
        except BaseException:
            self._discard()
            raise
        if isinstance(error, ProcessExpired):
            self._discard()
            if error.exitcode in (-signal.SIGTERM, _SERVER_GONE):
                # A service manager that stops the process group may end the processes before their parent. Another
                # process repeats their work.
                raise BrokenProcessPool("a render process was ended from outside") from error
            raise self._death(error.exitcode) from error
        if isinstance(error, BrokenProcessPool):
            self._discard()
            if isinstance(error.__cause__, ForbiddenAnswer):
                # The error names the class. Another version of Python or of a library may use a class that is not
                # allowed yet.
                faults.record(log, error.__cause__, "the answer of a render process was refused")
                raise self._death(child.UNTRUSTED) from error
            raise error
        return future.result()

    def _death(self, exitcode: int | None) -> ProcessDied:
        return ProcessDied(exitcode, decoding=self._stage.value == child.DECODING)

    def _submit(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> ProcessFuture[T]:
        pool = self._pool
        if pool is None:
            pool = self._pool = ProcessPool(
                max_workers=1,
                initializer=child.prepare,
                initargs=(self._limits, self._stage, self._folders),
                context=self._context,
            )
            if self._watched:
                self._pid = pool.schedule(os.getpid)
        try:
            return pool.schedule(child.perform, args=(job, *args), kwargs=kwargs)
        except RuntimeError as error:
            # pebble raises this if the process has ended since its last job.
            raise BrokenProcessPool(str(error)) from error

    def _await(self, future: ProcessFuture[T], seconds: float | None, pulse: Pulse) -> None:
        # Measured here from the call on, because pebble's own timeout starts only when the process has acknowledged the
        # job. A hanging process never does.
        asked = time.monotonic()
        end = None if seconds is None else asked + seconds
        while not future.done():
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise self._death(None)
            begin = None
            if self._stage.value == child.WAITING:
                begin = asked + BEGIN_SECONDS - time.monotonic()
                if begin <= 0:
                    # A process that is killed just when it receives a job may lose the job without an error.
                    raise BrokenProcessPool("the render process has not begun")
            look_again = _LOOK_SECONDS if self._watched else None
            waits = [wait for wait in (left, begin, pulse.remaining(), look_again) if wait is not None]
            self._wake.wait(min(waits, default=None))
            if self._closed:
                raise RendererClosed("the renderer is closed")
            if self._watched and self._resident() > self._limits.memory_bytes:
                raise self._death(child.OUT_OF_MEMORY)
            pulse.beat_if_due()

    @property
    def _watched(self) -> bool:
        return self._limits.watched and self._limits.memory_bytes > 0

    def _resident(self) -> int:
        """Return the resident memory of the process in bytes; 0 if there is no process."""
        # Imported here, because the package is not installed on Linux.
        import psutil

        if self._pid is None or not self._pid.done() or self._pid.exception() is not None:
            return 0
        try:
            return int(psutil.Process(self._pid.result()).memory_info().rss)
        except psutil.Error:
            return 0

    def _discard(self) -> None:
        # The caller of a job and `close` may run this at the same time. The second one waits.
        with self._ending:
            pool, self._pool = self._pool, None
            if pool is not None:
                pool.stop()  # type: ignore[no-untyped-call]
                pool.join()
