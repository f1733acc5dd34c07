"""One render process at a time, replaced whenever it ends otherwise than asked."""

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

# What `multiprocessing` reports of a child whose fork server is gone, killed with it.
_SERVER_GONE = 255

# How often memory is looked at where the system does not bound it.
_LOOK_SECONDS = 0.05

# A process may end between two jobs, killed for somebody else's memory, or be
# ended from outside in the middle of one; neither is the picture's fault.
_ATTEMPTS = 3
# A process that has not begun its job by then is replaced.
BEGIN_SECONDS = 20.0


class ProcessDied(Exception):
    """The process ended, or was ended, before the job was done.

    Attributes:
        exitcode: as `multiprocessing` gives it, minus the signal; None: it hung
            and was ended by the parent.
        decoding: it was decoding the original, so no drawing of it can succeed.
    """

    def __init__(self, exitcode: int | None, *, decoding: bool = False) -> None:
        super().__init__(f"render process died with {exitcode}")
        self.exitcode = exitcode
        self.decoding = decoding


def render_context() -> BaseContext:
    """Return how render processes are started: from a clean fork server if there is one, and not trusted.

    Forking this process itself would copy its threads' locks, its connections and its secrets.
    """
    keep_secrets_from_children()
    distrust_children()
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["packshot.render.processes.preload"])
    return context


class ProcessSlot:
    """A pool of one process, started at the first job.

    One pool for each process rather than one for all: pebble's workers share a
    pipe and its locks, so that a process killed at the wrong moment would stop
    all of them; and a pool of which an idle worker is killed refuses any job
    from then on. Here either costs one process, and the next job starts another.
    """

    def __init__(self, context: BaseContext, limits: Limits, folders: Sequence[Path] | None = None) -> None:
        self._context = context
        self._limits = limits
        self._folders = folders
        # Memory that the process shares with this one: it says what it does, which a dead one cannot.
        self._stage = context.RawValue("i", child.WAITING)
        self._pool: ProcessPool | None = None
        self._pid: ProcessFuture[int] | None = None
        self._wake = threading.Event()
        self._ending = threading.Lock()
        self._closed = False

    def run(self, job: Callable[P, T], seconds: float | None, pulse: Pulse, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `job` in the process and return what it returns. One caller at a time.

        Args:
            seconds: when to give the process up; None: never.
            pulse: beaten while waiting; what it raises ends the process.

        Raises:
            ProcessDied: the process ended without an answer.
            RendererClosed: closed, or somebody else ends every process that is started.
            Exception: what the job raised.
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._attempt(job, seconds, pulse, *args, **kwargs)
            except BrokenProcessPool:
                continue
        raise RendererClosed("no render process stays alive")

    def close(self) -> None:
        """End the process; a job that runs is told `RendererClosed`."""
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
                # A service manager that stops a group ends the processes before
                # their parent has answered: what it still works on is done again.
                raise BrokenProcessPool("a render process was ended from outside") from error
            raise self._death(error.exitcode) from error
        if isinstance(error, BrokenProcessPool):
            self._discard()
            if isinstance(error.__cause__, ForbiddenAnswer):
                # It names the class: a version of Python or of a library may answer with one that is not allowed yet.
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
            # So pebble says that the process has ended since its last job.
            raise BrokenProcessPool(str(error)) from error

    def _await(self, future: ProcessFuture[T], seconds: float | None, pulse: Pulse) -> None:
        # The parent's own clock, from the moment of asking, since pebble's starts
        # only once the process has answered, and one that hangs never does.
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
                    # A process that is killed just when it is asked may take the job along without a word.
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
        """Return the bytes of memory that the process occupies; 0 while or once there is none."""
        # Only where it is needed: on Linux the package is not installed.
        import psutil

        if self._pid is None or not self._pid.done() or self._pid.exception() is not None:
            return 0
        try:
            return int(psutil.Process(self._pid.result()).memory_info().rss)
        except psutil.Error:
            return 0

    def _discard(self) -> None:
        # Both the caller and whoever closes may come here; the second waits.
        with self._ending:
            pool, self._pool = self._pool, None
            if pool is not None:
                pool.stop()  # type: ignore[no-untyped-call]
                pool.join()
