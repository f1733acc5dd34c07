"""Rendering in processes of its own: bounded, by urgency, and able to die.

A picture that ends its process, or takes too long, is refused; nothing else is
touched by it.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from packshot.errors import PackshotError, RenderTimeout, Unrenderable
from packshot.render.animation.animation import MOVING
from packshot.render.decoding.decode import check_length
from packshot.render.drawing.pipeline import Rendered, undecodable
from packshot.render.drawing.probe import Facts
from packshot.render.limits import MOVING_PIXELS, Limits
from packshot.render.processes import child
from packshot.render.processes.failures import Failures
from packshot.render.processes.lanes import ANYBODY, Lane, Lanes, LoadShare, Places, Pulse, QueueTimeout, RendererClosed
from packshot.render.processes.slot import ProcessDied, ProcessSlot, render_context
from packshot.render.stripping.pieces import Piece
from packshot.variants.plan import Drawing

__all__ = ["Lane", "LoadShare", "QueueTimeout", "Rendered", "Renderer", "RendererClosed"]

# For starting a process and for the way there and back, in seconds. The limit
# proper is kept inside the process; this is for one that hangs outside of it.
_GRACE = 30.0


class Renderer:
    """Renders in a bounded number of processes. Called from any number of threads.

    Args:
        processes: how many renders run at once; None: one a CPU, at least two, so
            that bulk work can leave one of them free.
        folders: what the processes may read; originals elsewhere are read here. None: all files.
    """

    def __init__(self, limits: Limits, *, processes: int | None = None, folders: Sequence[Path] | None = None) -> None:
        processes = processes or max(2, os.cpu_count() or 1)
        context = render_context()
        self._limits = limits
        self.processes = processes
        self._lanes = Lanes(processes)
        self._failures = Failures()
        self._folders = None if folders is None else tuple(folder.resolve() for folder in folders)
        self._slots = tuple(ProcessSlot(context, limits, self._folders) for _ in range(processes))
        # Used from its end, so that few calls keep few processes warm.
        self._free = list(self._slots)

    @property
    def places(self) -> Places:
        """How many of the processes one tenant, one original and slow renders may have at once."""
        return self._lanes.places

    def probe(self, original: bytes | Path, lane: Lane = Lane.UPLOAD, *, share: LoadShare = ANYBODY) -> Facts:
        """Decode an original wholly and return what is known of it.

        Args:
            share: whom it is for.

        Raises:
            UnsupportedMedia, TooLarge, Unrenderable, RenderTimeout: it is refused.
            RendererClosed: closed, or ended from outside; ask again elsewhere.
            OSError: the file cannot be read.
        """
        original = self._readable(original)
        pulse = Pulse()
        with self._slot(lane, pulse, share) as slot:
            try:
                found = slot.run(child.look, self._patience(()), pulse, original, self._limits)
            except ProcessDied as death:
                raise self._refusal(death) from death
        if isinstance(found, PackshotError):
            raise found
        self._failures.note(share.original, None)
        return found

    def strip(
        self, original: bytes | Path, *, credits: bool, share: LoadShare = ANYBODY, patience: float | None = None
    ) -> list[Piece]:
        """Return the pieces of an original without its metadata, for a client that waits.

        Args:
            credits: the original's copyright and credit lines are kept.
            share: whom it is for.
            patience: seconds to wait for a place at most; None: no limit.

        Raises:
            UnsupportedMedia, TooLarge, Unrenderable, RenderTimeout: it is refused.
            QueueTimeout: no place became free in that time.
            RendererClosed: closed, or ended from outside; ask again elsewhere.
            OSError: the file cannot be read.
        """
        original = self._readable(original)
        pulse = Pulse()
        with self._slot(Lane.ON_DEMAND, pulse, share, patience) as slot:
            try:
                found = slot.run(
                    child.strip_original, self._patience(()), pulse, original, self._limits, credits=credits
                )
            except ProcessDied as death:
                raise self._refusal(death) from death
        if isinstance(found, PackshotError):
            raise found
        return found

    def render(
        self,
        original: bytes | Path,
        drawings: Sequence[Drawing],
        lane: Lane,
        *,
        share: LoadShare = ANYBODY,
        patience: float | None = None,
        heartbeat: Callable[[], None] | None = None,
        heartbeat_seconds: float = 15.0,
    ) -> list[Rendered | PackshotError]:
        """Return one outcome per drawing, in their order; a refusal is an outcome.

        On demand, an original that could not be decoded while this call waited for its place is refused without
        another try. What failed before, the catalog knows.

        Args:
            original: bytes, or a file, which the render process reads.
            share: whom it is for.
            patience: seconds to wait for a place at most; None: no limit.
            heartbeat: called about every `heartbeat_seconds` while waiting, for a
                place as well as for the result. What it raises ends the render.

        Raises:
            QueueTimeout: no place became free in that time.
            RendererClosed: closed, or ended from outside; ask again elsewhere.
            OSError: the file cannot be read.
        """
        if not drawings:
            return []
        try:
            original = self._readable(original)
        except PackshotError as refusal:
            return undecodable(refusal, drawings)
        pulse, asked_at = Pulse(heartbeat, heartbeat_seconds), time.monotonic()
        with self._slot(lane, pulse, share, patience) as slot:
            if lane is Lane.ON_DEMAND and (known := self._failures.find(share.original, asked_at)) is not None:
                return undecodable(known, drawings)
            outcomes = self._draw_contained(slot, pulse, original, drawings)
        self._failures.note(share.original, failure_of(outcomes))
        return outcomes

    def close(self) -> None:
        """End all render processes. Whoever waits or renders is told `RendererClosed`."""
        self._lanes.close()
        for slot in self._slots:
            slot.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def confinement(self) -> tuple[str, ...]:
        """Return what a render process has given up; see `packshot.render.processes.confine.confine`."""
        pulse = Pulse()
        with self._slot(Lane.INTERACTIVE, pulse) as slot:
            return slot.run(child.confinement, _GRACE, pulse)

    def _readable(self, original: bytes | Path) -> bytes | Path:
        """Return an original as a render process can read it.

        Raises:
            TooLarge: its bytes would have to be sent, and are too many.
        """
        if isinstance(original, Path):
            path = original.resolve()
            if self._folders is None or any(path.is_relative_to(folder) for folder in self._folders):
                return path
            check_length(path.stat().st_size, self._limits)
            return path.read_bytes()
        check_length(len(original), self._limits)
        return original

    @contextmanager
    def _slot(
        self, lane: Lane, pulse: Pulse, share: LoadShare = ANYBODY, patience: float | None = None
    ) -> Iterator[ProcessSlot]:
        with self._lanes.place(lane, pulse, share, patience):
            # There is one: the lanes admit no more than there are slots.
            slot = self._free.pop()
            try:
                yield slot
            finally:
                self._free.append(slot)

    def _draw(
        self, slot: ProcessSlot, pulse: Pulse, original: bytes | Path, drawings: Sequence[Drawing]
    ) -> list[Rendered | PackshotError]:
        return slot.run(child.draw, self._patience(drawings), pulse, original, drawings, self._limits)

    def _draw_contained(
        self, slot: ProcessSlot, pulse: Pulse, original: bytes | Path, drawings: Sequence[Drawing]
    ) -> list[Rendered | PackshotError]:
        try:
            return self._draw(slot, pulse, original, drawings)
        except ProcessDied as death:
            if _is_decoding(death):
                return undecodable(self._refusal(death), drawings)
            if len(drawings) == 1:
                return [self._refusal(death, drawings[0])]
            stage_is_known = death.exitcode != -signal.SIGKILL
        # The process died of one of them, and which one it cannot tell any more.
        try:
            if not stage_is_known:
                # If it was the decoding, every drawing would take as long to find out.
                self._draw(slot, pulse, original, ())
        except ProcessDied as death:
            return undecodable(self._refusal(death), drawings)
        outcomes: list[Rendered | PackshotError] = []
        for drawing in drawings:
            try:
                outcomes += self._draw(slot, pulse, original, [drawing])
            except ProcessDied as death:
                if _is_decoding(death):
                    return undecodable(self._refusal(death), drawings)
                outcomes.append(self._refusal(death, drawing))
        return outcomes

    def _patience(self, drawings: Sequence[Drawing]) -> float | None:
        # Whether the original moves is not known here; if so, it has no more pixels than this.
        limits = self._limits
        most = (limits.max_frames_pixels if drawing.format in MOVING else 0 for drawing in drawings)
        return limits.seconds + sum(map(limits.seconds_for, most)) + _GRACE if limits.seconds else None

    def _refusal(self, death: ProcessDied, drawing: Drawing | None = None) -> PackshotError:
        if death.exitcode == -signal.SIGPROF:
            return RenderTimeout(
                "Decoding the picture takes too long.",
                expected=f"at most {self._limits.decoding_seconds_for(0):g} seconds of CPU time,"
                f" of an animation for every {MOVING_PIXELS // 1_000_000} megapixels",
            )
        if death.exitcode in (None, -signal.SIGALRM):
            expected = f"at most {self._limits.seconds:g} seconds"
            if drawing is not None and drawing.format in MOVING:
                expected += f", of an animation for every {MOVING_PIXELS // 1_000_000} megapixels"
            return RenderTimeout("Rendering the picture takes too long.", expected=expected)
        if death.exitcode == child.OUT_OF_MEMORY:
            kind = "resident memory" if self._limits.watched else "address space"
            return Unrenderable(
                "Rendering the picture takes too much memory.",
                expected=f"at most {self._limits.memory_bytes} bytes of {kind}",
            )
        if death.exitcode == child.UNTRUSTED:
            return Unrenderable(
                "The answer of the process that rendered the picture was refused.",
                expected="an answer of the classes that Packshot allows; the log names the class that it got",
            )
        return Unrenderable("The picture ended the process that rendered it.", got=_ending(death.exitcode))


def failure_of(outcomes: Sequence[Rendered | PackshotError]) -> PackshotError | None:
    """Return why the original of these outcomes could not be decoded; None: it could."""
    return next((one for one in outcomes if isinstance(one, PackshotError) and one.undecodable), None)


def _is_decoding(death: ProcessDied) -> bool:
    # The kernel kills processes for the memory that others take, too; so one such death proves nothing.
    return death.decoding and death.exitcode != -signal.SIGKILL


def _ending(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"signal {signal.Signals(-exitcode).name}"
    return f"exit code {exitcode}"
