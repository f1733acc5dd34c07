"""Images that show which edit they belong to, the threads that edit them, and the threads that read them."""

import random
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import httpx2 as httpx
import numpy as np
from PIL import Image

from tests.support.admin import Admin
from tests.support.pictures import png

# A chart is a grid of squares, each with its own colour: squares on each side, and pixels on each side of a square.
SIDE = 32
CELL_PIXELS = 16
CELLS = SIDE * SIDE
_STEP = 256 // SIDE


def chart() -> bytes:
    """Draw a PNG of `CELLS` squares; `cell_shown` recognises each square in any cut-out."""
    rows, columns = np.mgrid[0 : SIDE * CELL_PIXELS, 0 : SIDE * CELL_PIXELS] // CELL_PIXELS
    pixels = np.stack([columns * _STEP, rows * _STEP, np.full_like(rows, 128)], axis=-1).astype("uint8")
    return png(Image.fromarray(pixels))


def cell_crop(cell: int) -> str:
    """Return the crop, as GraphQL input, that shows exactly one square of the chart."""
    row, column = divmod(cell, SIDE)
    edges = {"topLeftX": column, "topLeftY": row, "bottomRightX": column + 1, "bottomRightY": row + 1}
    return "{" + ", ".join(f"{name}: {edge / SIDE}" for name, edge in edges.items()) + "}"


def cell_shown(data: bytes) -> tuple[int, tuple[int, int]]:
    """Return which square of the chart an image shows, and its size in pixels."""
    with Image.open(BytesIO(data)) as picture:
        size = picture.size
        middle = picture.convert("RGB").getpixel((size[0] // 2, size[1] // 2))
    assert isinstance(middle, tuple)
    column, row = (round(middle[channel] / _STEP) for channel in (0, 1))
    return row * SIDE + column, size


@dataclass(frozen=True)
class Edit:
    """An acknowledged edit: its square, its version, and the time of the response."""

    pack_id: str
    cell: int
    version: int
    answered_at: float


@dataclass(frozen=True)
class Sight:
    """What a reader saw: the square, its size in pixels, and the times of request and response in Unix seconds."""

    pack_id: str
    cell: int
    size: tuple[int, int]
    began_at: float
    ended_at: float


def put_cell(admin: Admin, side: int, more: str = "") -> Any:
    """Give the location `cell` that many pixels on each side, lossless; return the job's id, None without a job."""
    values = f'name: "cell", width: {side}, height: {side}, formats: [PNG]'
    job = admin.do("putLocation", f"input: {{{values}}}{more}", "job { id }")["job"]
    return job and job["id"]


def edit_cell(admin: Admin, pack_id: str, cell: int) -> Edit:
    """Crop a pack's location `cell` to one square of the chart."""
    arguments = f'packId: "{pack_id}", location: "cell", crop: {cell_crop(cell)}'
    version = admin.do("setCrop", arguments, "packLocation { version }")["packLocation"]["version"]
    return Edit(pack_id, cell, version, time.time())


def look(client: httpx.Client, pack_id: str) -> Sight:
    """Request a pack's location `cell` by its stable URL."""
    began_at = time.time()
    answer = client.get(f"/api/v2/img/{pack_id}?location=cell")
    assert answer.status_code == 200, answer.text
    cell, size = cell_shown(answer.content)
    return Sight(pack_id, cell, size, began_at, time.time())


def late_sights(edits: Sequence[Edit], sights: Sequence[Sight]) -> list[Sight]:
    """Return the sights that show an older edit than the newest one acknowledged before the request."""
    by_cell = {edit.cell: edit for edit in edits}

    def newest(sight: Sight) -> int:
        return max(e.version for e in edits if e.pack_id == sight.pack_id and e.answered_at <= sight.began_at)

    return [sight for sight in sights if by_cell[sight.cell].version < newest(sight)]


def last_edits(edits: Sequence[Edit]) -> Iterable[Edit]:
    """Return the last edit of each pack."""
    return {edit.pack_id: edit for edit in sorted(edits, key=lambda edit: edit.version)}.values()


class Crowd:
    """Threads that edit or read until they are stopped; their exceptions are kept."""

    def __init__(self) -> None:
        self.faults: list[BaseException] = []
        self.stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def add(self, act: Callable[[random.Random], None], seed: int) -> threading.Thread:
        """Start a thread that repeats this with its own random generator."""

        def guarded() -> None:
            try:
                act(random.Random(seed))  # noqa: S311 - the same choices each time
            except BaseException as fault:  # noqa: BLE001 - asserted to be none by the test
                self.faults.append(fault)

        thread = threading.Thread(target=guarded)
        thread.start()
        self._threads.append(thread)
        return thread

    def stop(self) -> None:
        """Stop all threads, and wait for them."""
        self.stopping.set()
        for thread in self._threads:
            thread.join()
