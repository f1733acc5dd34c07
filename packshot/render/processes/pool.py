"""Render in separate processes: a bounded number, ordered by urgency.

An image that ends its process or takes too long is refused, and nothing else is affected.
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
from packshot.render.animation.animation import ANIMATED_FORMATS
from packshot.render.decoding.decode import check_length
from packshot.render.drawing.pipeline import Rendered, undecodable
from packshot.render.drawing.probe import Facts
from packshot.render.limits import ANIMATED_PIXELS, Limits
from packshot.render.processes import child
from packshot.render.processes.failures import Failures
from packshot.render.processes.lanes import (
    ANY_CLIENT,
    Lane,
    Lanes,
    LoadShare,
    Places,
    Pulse,
    QueueTimeout,
    RendererClosed,
)
from packshot.render.processes.process_slot import ProcessDied, ProcessSlot, render_context
from packshot.render.stripping.pieces import Piece
from packshot.variants.plan import Drawing

__all__ = ["Lane", "LoadShare", "QueueTimeout", "Rendered", "Renderer", "RendererClosed"]

# Seconds for starting a process and for communication. The process itself enforces the actual limit; this one is for a
# process that hangs elsewhere.
_GRACE = 30.0


class Renderer:
    """Renders in a bounded number of render processes. Thread-safe.

    Args:
        processes: how many renders run at once. None means one per CPU, but at least two, so that bulk work can
        leave one
            free.
        folders: folders that the processes may read. Originals elsewhere are read by this process. None allows all
        files.
    """

    def __init__(self, limits: Limits, *, processes: int | None = None, folders: Sequence[Path] | None = None) -> None:
        processes = processes or max(2, os.cpu_count() or 1)
        context = render_context()
        self._limits = limits
        self.processes = processes
        self._lanes = Lanes(processes)
        self._failures = Failures()
        self._folders = None if folders is None else tuple(folder.resolve() for folder in folders)
        self._process_slots = tuple(ProcessSlot(context, limits, self._folders) for _ in range(processes))
        # The last one is used first, so that few calls use few processes.
        self._free = list(self._process_slots)

    @property
    def places(self) -> Places:
        """The number of process slots that one tenant, one original and slow renders may use at once."""
        return self._lanes.places

    def probe(self, original: bytes | Path, lane: Lane = Lane.UPLOAD, *, share: LoadShare = ANY_CLIENT) -> Facts:
        """Decode an original completely, and measure it.

        Args:
            lane: urgency of the call.
            share: the tenant and original of the call.

        Raises:
            UnsupportedMedia, TooLarge, Unrenderable, RenderTimeout: the original is refused.
            RendererClosed: closed, or its processes are ended from outside. Another process may retry.
            OSError: the file cannot be read.
        """
        original = self._readable(original)
        pulse = Pulse()
        with self._process_slot(lane, pulse, share) as process_slot:
            try:
                found = process_slot.run(child.look, self._patience(()), pulse, original, self._limits)
            except ProcessDied as death:
                raise self._refusal(death) from death
        if isinstance(found, PackshotError):
            raise found
        self._failures.note(share.original, None)
        return found

    def strip(
        self, original: bytes | Path, *, credits: bool, share: LoadShare = ANY_CLIENT, patience: float | None = None
    ) -> list[Piece]:
        """Return the pieces of a stripped original, in the on-demand lane.

        Args:
            credits: whether the credits stay.
            share: the tenant and original of the call.
            patience: seconds to wait for a process slot; None means no limit.

        Raises:
            UnsupportedMedia, TooLarge, Unrenderable, RenderTimeout: the original is refused.
            QueueTimeout: no process slot became free in that time.
            RendererClosed: closed, or its processes are ended from outside. Another process may retry.
            OSError: the file cannot be read.
        """
        original = self._readable(original)
        pulse = Pulse()
        with self._process_slot(Lane.ON_DEMAND, pulse, share, patience) as process_slot:
            try:
                found = process_slot.run(
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
        share: LoadShare = ANY_CLIENT,
        patience: float | None = None,
        heartbeat: Callable[[], None] | None = None,
        heartbeat_seconds: float = 15.0,
    ) -> list[Rendered | PackshotError]:
        """Render drawings. Return one outcome per drawing, in their order; a refusal is an outcome.

        On demand, an original that could not be decoded while this call waited is refused at once. Earlier failures are
        stored in the catalog.

        Args:
            original: bytes, or a file that the render process reads.
            lane: urgency of the call.
            share: the tenant and original of the call.
            patience: seconds to wait for a process slot; None means no limit.
            heartbeat: called about every `heartbeat_seconds` while waiting for a process slot and for the result. If
            it raises,
                the render ends.

        Raises:
            QueueTimeout: no process slot became free in that time.
            RendererClosed: closed, or its processes are ended from outside. Another process may retry.
            OSError: the file cannot be read.
        """
        if not drawings:
            return []
        try:
            original = self._readable(original)
        except PackshotError as refusal:
            return undecodable(refusal, drawings)
        pulse, asked_at = Pulse(heartbeat, heartbeat_seconds), time.monotonic()
        with self._process_slot(lane, pulse, share, patience) as process_slot:
            if lane is Lane.ON_DEMAND and (known := self._failures.find(share.original, asked_at)) is not None:
                return undecodable(known, drawings)
            outcomes = self._draw_contained(process_slot, pulse, original, drawings)
        self._failures.note(share.original, failure_of(outcomes))
        return outcomes

    def close(self) -> None:
        """End all render processes. Waiting and running calls raise `RendererClosed`."""
        self._lanes.close()
        for process_slot in self._process_slots:
            process_slot.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def confinement(self) -> tuple[str, ...]:
        """Return the confinement of a render process; see `packshot.render.processes.confine.confine`."""
        pulse = Pulse()
        with self._process_slot(Lane.INTERACTIVE, pulse) as process_slot:
            return process_slot.run(child.confinement, _GRACE, pulse)

    def _readable(self, original: bytes | Path) -> bytes | Path:
        """Return an original in a form that a render process can read: a path in its folders, or bytes.

        Raises:
            TooLarge: the bytes must be sent and exceed the limit.
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
    def _process_slot(
        self, lane: Lane, pulse: Pulse, share: LoadShare = ANY_CLIENT, patience: float | None = None
    ) -> Iterator[ProcessSlot]:
        with self._lanes.place(lane, pulse, share, patience):
            # Not empty, because the lanes run no more renders than there are process slots.
            process_slot = self._free.pop()
            try:
                yield process_slot
            finally:
                self._free.append(process_slot)

    def _draw(
        self, process_slot: ProcessSlot, pulse: Pulse, original: bytes | Path, drawings: Sequence[Drawing]
    ) -> list[Rendered | PackshotError]:
        return process_slot.run(child.draw, self._patience(drawings), pulse, original, drawings, self._limits)

    def _draw_contained(
        self, process_slot: ProcessSlot, pulse: Pulse, original: bytes | Path, drawings: Sequence[Drawing]
    ) -> list[Rendered | PackshotError]:
        try:
            return self._draw(process_slot, pulse, original, drawings)
        except ProcessDied as death:
            if _is_decoding(death):
                return undecodable(self._refusal(death), drawings)
            if len(drawings) == 1:
                return [self._refusal(death, drawings[0])]
            stage_is_known = death.exitcode != -signal.SIGKILL
        # One of the drawings ended the process, but it is unknown which one.
        try:
            if not stage_is_known:
                # Decode alone first. If decoding is the cause, each drawing would take just as long to fail.
                self._draw(process_slot, pulse, original, ())
        except ProcessDied as death:
            return undecodable(self._refusal(death), drawings)
        outcomes: list[Rendered | PackshotError] = []
        for drawing in drawings:
            try:
                outcomes += self._draw(process_slot, pulse, original, [drawing])
            except ProcessDied as death:
                if _is_decoding(death):
                    return undecodable(self._refusal(death), drawings)
                outcomes.append(self._refusal(death, drawing))
        return outcomes

    def _patience(self, drawings: Sequence[Drawing]) -> float | None:
        # It is unknown here whether the original is an animation. If so, it has at most these pixels.
        limits = self._limits
        most = (limits.max_frames_pixels if drawing.format in ANIMATED_FORMATS else 0 for drawing in drawings)
        return limits.seconds + sum(map(limits.seconds_for, most)) + _GRACE if limits.seconds else None

    def _refusal(self, death: ProcessDied, drawing: Drawing | None = None) -> PackshotError:
        if death.exitcode == -signal.SIGPROF:
            return RenderTimeout(
                "Decoding the image takes too long.",
                expected=f"at most {self._limits.decoding_seconds_for(0):g} seconds of CPU time,"
                f" of an animation for every {ANIMATED_PIXELS // 1_000_000} megapixels",
            )
        if death.exitcode in (None, -signal.SIGALRM):
            expected = f"at most {self._limits.seconds:g} seconds"
            if drawing is not None and drawing.format in ANIMATED_FORMATS:
                expected += f", of an animation for every {ANIMATED_PIXELS // 1_000_000} megapixels"
            return RenderTimeout("Rendering the image takes too long.", expected=expected)
        if death.exitcode == child.OUT_OF_MEMORY:
            kind = "resident memory" if self._limits.watched else "address space"
            return Unrenderable(
                "Rendering the image takes too much memory.",
                expected=f"at most {self._limits.memory_bytes} bytes of {kind}",
            )
        if death.exitcode == child.UNTRUSTED:
            return Unrenderable(
                "The answer of the process that rendered the image was refused.",
                expected="an answer of the classes that Packshot allows; the log names the class that it got",
            )
        return Unrenderable("The image ended the process that rendered it.", got=_ending(death.exitcode))


def failure_of(outcomes: Sequence[Rendered | PackshotError]) -> PackshotError | None:
    """Return the refusal of the original itself among the outcomes; None if it could be decoded."""
    return next((one for one in outcomes if isinstance(one, PackshotError) and one.undecodable), None)


def _is_decoding(death: ProcessDied) -> bool:
    # The kernel also kills processes because others use too much memory, so SIGKILL proves nothing.
    return death.decoding and death.exitcode != -signal.SIGKILL


def _ending(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"signal {signal.Signals(-exitcode).name}"
    return f"exit code {exitcode}"
