"""Measured render costs: seconds and bytes per megapixel. Older measurements lose weight.

They are kept by format and size class, because small variants cost more per megapixel. They cover the whole
installation, not one tenant.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.work import render_costs
from packshot.model import Format, Original

DECODING = "decoding"
# Size class 0 has up to 16,384 pixels, each next class up to four times as many.
_SMALLEST, _CLASSES = 16_384, 6
# After this many new megapixels of a kind, the earlier ones count half.
HALF_LIFE_MEGAPIXELS = 200.0

# CPU seconds and bytes per megapixel of output before anything is measured: photographs on one core of a server of
# 2024, by `bench/render`. For decoding: per megapixel of the original.
_FIRST: dict[str, tuple[float, float]] = {
    Format.JPEG.value: (0.05, 220_000),
    Format.WEBP.value: (0.09, 160_000),
    Format.AVIF.value: (0.10, 110_000),
    Format.PNG.value: (0.25, 1_600_000),
    Format.GIF.value: (0.40, 700_000),
    DECODING: (0.006, 0),
}

Kind = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Measurement:
    """The sum of what was rendered of one kind."""

    megapixels: float = 0.0
    seconds: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Measurement") -> "Measurement":
        return Measurement(self.megapixels + other.megapixels, self.seconds + other.seconds, self.bytes + other.bytes)


class Tally:
    """Adds up the render costs of a process until they are written. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._measured: dict[Kind, Measurement] = {}

    def add(self, format: Format, pixels: int, seconds: float, size: int) -> None:
        """Add a variant with its pixels of all frames, and its bytes."""
        self._add(kind_of(format, pixels), Measurement(pixels / 1e6, seconds, size))

    def add_decoding(self, pixels: int, seconds: float) -> None:
        """Add a decoded original."""
        self._add((DECODING, 0), Measurement(pixels / 1e6, seconds))

    def take(self) -> dict[Kind, Measurement]:
        """Return what was added since the last call."""
        with self._lock:
            taken, self._measured = self._measured, {}
        return taken

    def _add(self, kind: Kind, measured: Measurement) -> None:
        with self._lock:
            self._measured[kind] = self._measured.get(kind, Measurement()) + measured


@dataclass(frozen=True, slots=True)
class RenderCosts:
    """The known render costs."""

    measured: Mapping[Kind, Measurement]

    def variant(self, format: Format, pixels: int) -> tuple[float, float]:
        """Return the CPU seconds and the bytes of a variant with this many pixels in all frames together."""
        seconds, size = self._of(kind_of(format, pixels))
        return seconds * pixels / 1e6, size * pixels / 1e6

    def rendering(self, original: Original, format: Format, pixels: int, *, moves: bool) -> float:
        """Return the CPU seconds of decoding an original and drawing a variant with this many pixels.

        A measurement of this original takes precedence over the average by pixels.

        Args:
            moves: all frames are drawn.
        """
        if original.decoding_seconds is None:
            decoding = self.decoding(original.width * original.height * (original.frames if moves else 1))
        else:
            decoding = original.decoding_seconds / (1 if moves else original.frames)
        return decoding + self.variant(format, pixels)[0]

    def decoding(self, pixels: int) -> float:
        """Return the CPU seconds of decoding an original with this many pixels."""
        return self._of((DECODING, 0))[0] * pixels / 1e6

    def _of(self, kind: Kind) -> tuple[float, float]:
        name, size = kind
        # Without a measurement of this size class, use the nearest one.
        alike = [known for known in self.measured if known[0] == name and self.measured[known].megapixels > 0]
        if not alike:
            return _FIRST[name]
        found = self.measured[min(alike, key=lambda known: (abs(known[1] - size), known[1]))]
        return found.seconds / found.megapixels, found.bytes / found.megapixels


def kind_of(format: Format, pixels: int) -> Kind:
    """Return the format and the size class: 0 the smallest, each next one four times as large."""
    size = 0
    while size < _CLASSES - 1 and pixels > _SMALLEST << (2 * size):
        size += 1
    return format.value, size


def read_costs(tx: Tx) -> RenderCosts:
    """Return all measurements."""
    found = tx.connection.execute(sa.select(render_costs))
    return RenderCosts({(row.kind, row.size): Measurement(row.megapixels, row.seconds, row.bytes) for row in found})


def write_costs(tx: Tx, measured: Mapping[Kind, Measurement]) -> None:
    """Add measurements. The more is added, the less earlier ones count."""
    # Sorted, so that two processes do not deadlock.
    for (name, size), more in sorted(measured.items()):
        keep = 0.5 ** (more.megapixels / HALF_LIFE_MEGAPIXELS)
        added = {"megapixels": more.megapixels, "seconds": more.seconds, "bytes": more.bytes}
        tx.connection.execute(
            tx.insert(render_costs)
            .values(kind=name, size=size, **added, updated_at=tx.now)
            .on_conflict_do_update(
                index_elements=["kind", "size"],
                set_={
                    **{column: render_costs.c[column] * keep + value for column, value in added.items()},
                    "updated_at": tx.now,
                },
            )
        )
