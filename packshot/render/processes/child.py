"""The code that runs inside a render process, where hostile files are decoded.

The parent process expects that any of these functions may end the process.
"""

import fcntl
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_int
from pathlib import Path
from typing import ParamSpec, TypeVar

from packshot.errors import PackshotError
from packshot.render.decoding.decode import check_length
from packshot.render.drawing.pipeline import Rendered, render_all, undecodable
from packshot.render.drawing.probe import Facts, probe
from packshot.render.drawing.recent import RecentOriginals
from packshot.render.limits import Limits
from packshot.render.processes.confine import confine
from packshot.render.stripping.pieces import Piece
from packshot.render.stripping.strip import strip
from packshot.variants.plan import Drawing

P = ParamSpec("P")
T = TypeVar("T")

NICENESS = 10

OUT_OF_MEMORY = 97
"""Exit code of a process that ran out of memory."""

UNTRUSTED = 98
"""Stands for the exit code of a process that was ended because of a forbidden answer."""

WAITING, BUSY, DECODING, DRAWING = range(4)
"""Stages that the parent reads: job not begun, begun, decoding the original, drawing."""

_recent = RecentOriginals()
_stage = c_int(WAITING)
_confined: tuple[str, ...] = ()


def prepare(limits: Limits, stage: c_int, folders: Sequence[Path] | None = None) -> None:
    """Set up this process: signals, memory limit, niceness, confinement.

    Args:
        stage: memory shared with the parent: `WAITING`, `BUSY`, `DECODING` or `DRAWING`.
        folders: folders with originals; None allows reading all files.
    """
    global _stage, _confined
    _stage = stage
    # Ctrl-C in a terminal reaches the whole process group. Only the parent reacts to it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The default actions end the process even inside a codec's C code. A Python handler would run only after the codec
    # has returned.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    if limits.memory_bytes and not limits.watched:
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    # Processes that answer clients take precedence over rendering.
    os.nice(NICENESS)
    _silence_codecs()
    _die_with_parent()
    _confined = confine(folders)


def confinement() -> tuple[str, ...]:
    """Return the confinement that is in force; see `packshot.render.processes.confine`."""
    return _confined


def _silence_codecs() -> None:
    # C libraries write messages about files to descriptor 2, and very many for a hostile file. Python's own messages
    # still go to the original target.
    try:
        own = os.dup(2)
    except OSError:
        return  # It is closed, so there is nothing to redirect.
    sys.stderr = open(own, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for standard in (1, 2):
        os.dup2(nowhere, standard)
    os.close(nowhere)


def _die_with_parent() -> None:
    # The parent holds the only other end of a pipe of `multiprocessing`. When that end closes, the kernel sends SIGIO,
    # which ends this process even inside C code. PR_SET_PDEATHSIG would not help: the parent is then the fork server,
    # which stays as long as its children.
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)
    if not parent.is_alive():
        os._exit(1)


def perform(job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a job, and set the stage so that the parent knows that it has begun."""
    _stage.value = BUSY
    return job(*args, **kwargs)


def draw(original: bytes | Path, drawings: Sequence[Drawing], limits: Limits) -> list[Rendered | PackshotError]:
    """Return one outcome per drawing. Without drawings, only decode the original.

    Raises:
        OSError: the file cannot be read. That is not the original's fault.
    """
    with _contained():
        try:
            data = _read(original, limits)
        except PackshotError as refusal:
            return undecodable(refusal, drawings)
        _stage.value = DECODING
        _limit_time(limits.seconds)

        def begin(pixels: int) -> None:
            _stage.value = DRAWING
            _limit_time(limits.seconds_for(pixels))

        try:
            return list(render_all(data, drawings, limits, begin, _recent.levels_of(data, limits)))
        finally:
            _recent.settle()


def look(original: bytes | Path, limits: Limits) -> Facts | PackshotError:
    """Measure an original, or return the reason why it is refused.

    Decoding gets fewer CPU seconds than for a drawing, so that an accepted original can be drawn on a busier
    machine.

    Raises:
        OSError: the file cannot be read.
    """
    with _contained():
        try:
            data = _read(original, limits)
            _stage.value = DECODING

            def begin(pixels: int) -> None:
                _limit_time(limits.seconds_for(pixels))
                _limit_cpu(limits.decoding_seconds_for(pixels))

            begin(0)
            return probe(data, limits, begin)
        except PackshotError as refusal:
            return refusal


def strip_original(original: bytes | Path, limits: Limits, *, credits: bool) -> list[Piece] | PackshotError:
    """Return the pieces of a stripped original, or the reason why it is refused.

    Raises:
        OSError: the file cannot be read.
    """
    with _contained():
        try:
            data = _read(original, limits)
            _stage.value = DECODING
            _limit_time(limits.seconds)
            return strip(data, limits, credits=credits)
        except PackshotError as refusal:
            return refusal


@contextmanager
def _contained() -> Iterator[None]:
    # The kernel ends the process when a timer expires. Timers must not run while the process talks to its parent,
    # because a process that dies then keeps the locks of the pipe.
    try:
        yield
    except MemoryError:
        # This process may still hold memory, so a new one must replace it.
        os._exit(OUT_OF_MEMORY)
    finally:
        _limit_time(0)
        _limit_cpu(0)
        _stage.value = BUSY


def _limit_time(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _limit_cpu(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_PROF, seconds)


def _read(original: bytes | Path, limits: Limits) -> bytes:
    if isinstance(original, bytes):
        return original
    check_length(original.stat().st_size, limits)
    return original.read_bytes()
