"""What runs inside a render process, where pixels are made and hostile files end.

Every function here is called by a parent that expects the process to die.
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
"""The exit code of a process that had no memory left for a picture."""

UNTRUSTED = 98
"""What stands for the exit code of a process that was ended because its answer was none of ours."""

WAITING, BUSY, DECODING, DRAWING = range(4)
"""What the process does at the moment, as the parent reads it: it has not begun the job, does something, and so on."""

_recent = RecentOriginals()
_stage = c_int(WAITING)
_confined: tuple[str, ...] = ()


def prepare(limits: Limits, stage: c_int, folders: Sequence[Path] | None = None) -> None:
    """Put the limits of the operating system around this process.

    Args:
        stage: memory shared with the parent, one of `WAITING`, `BUSY`, `DECODING` and `DRAWING`.
        folders: where originals are read from; None: files may be read everywhere.
    """
    global _stage, _confined
    _stage = stage
    # Ctrl-C in a terminal goes to the whole group; what it means, the parent says.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The kernel's own dispositions end the process in the middle of a codec's C
    # code. A handler in Python would run only after the codec has returned.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    if limits.memory_bytes and not limits.watched:
        resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    # Whoever answers clients goes first: a refusal or a stored picture must not wait for pixels.
    os.nice(NICENESS)
    _silence_codecs()
    _die_with_parent()
    _confined = confine(folders)


def confinement() -> tuple[str, ...]:
    """Return what this process has given up; see `packshot.render.processes.confine`."""
    return _confined


def _silence_codecs() -> None:
    # C libraries write what they think of a file to descriptor 2, lines and lines
    # of it for a hostile one. Python's own messages go on to where that led.
    try:
        own = os.dup(2)
    except OSError:
        return  # It is closed, so nobody hears them.
    sys.stderr = open(own, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for standard in (1, 2):
        os.dup2(nowhere, standard)
    os.close(nowhere)


def _die_with_parent() -> None:
    # `multiprocessing` holds a pipe of which only the parent has the other end.
    # The kernel sends SIGIO, which ends a process, once that end is gone, even in
    # the middle of C code. (A fork server is the parent to PR_SET_PDEATHSIG, and
    # stays for as long as its children do.)
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(parent.sentinel, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(parent.sentinel, fcntl.F_SETFL, fcntl.fcntl(parent.sentinel, fcntl.F_GETFL) | os.O_ASYNC)
    if not parent.is_alive():
        os._exit(1)


def perform(job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a job, and let the parent know that it has begun."""
    _stage.value = BUSY
    return job(*args, **kwargs)


def draw(original: bytes | Path, drawings: Sequence[Drawing], limits: Limits) -> list[Rendered | PackshotError]:
    """Return one outcome per drawing; without drawings, only decode.

    Raises:
        OSError: the file cannot be read, which is no fault of the picture.
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
    """Return the facts of an original, or why it is refused.

    Decoding has less time than for a drawing, in CPU seconds: what is accepted here can be drawn later,
    on a machine that is busier.

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
    """Return the pieces of an original without its metadata, or the reason why it is refused.

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
    # When a timer has run down, the kernel ends the process. Nothing else may be
    # going on by then: a process that dies while it talks to its parent takes the
    # locks of the pipe along.
    try:
        yield
    except MemoryError:
        # A fresh process has room again; what this one still holds is unknown.
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
