"""What rendering costs here: seconds and bytes a megapixel, measured as it goes, old figures fading.

Of each format apart, and by how large a variant is, since small ones cost more
a megapixel than large ones. Figures of the whole installation, not of a tenant.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.work import render_costs
from packshot.model import Format, Original

DECODING = "decoding"
# Variants of up to 16,384 pixels, of up to four times as many, and so on.
_SMALLEST, _CLASSES = 16_384, 6
# So many megapixels of one kind make earlier ones count half.
HALF_LIFE_MEGAPIXELS = 200.0

# Seconds of CPU time and bytes a megapixel of output, where nothing is measured yet: photographs on
# one core of a server of 2024, `bench/render`; for decoding, a megapixel of the original.
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
    """What was rendered of one kind, together."""

    megapixels: float = 0.0
    seconds: float = 0.0
    bytes: float = 0.0

    def __add__(self, other: "Measurement") -> "Measurement":
        return Measurement(self.megapixels + other.megapixels, self.seconds + other.seconds, self.bytes + other.bytes)


class Tally:
    """Adds up what a process renders until it is written down. For any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._measured: dict[Kind, Measurement] = {}

    def add(self, format: Format, pixels: int, seconds: float, size: int) -> None:
        """Count one variant of so many pixels, all frames together, and bytes."""
        self._add(kind_of(format, pixels), Measurement(pixels / 1e6, seconds, size))

    def add_decoding(self, pixels: int, seconds: float) -> None:
        """Count one original that was decoded."""
        self._add((DECODING, 0), Measurement(pixels / 1e6, seconds))

    def take(self) -> dict[Kind, Measurement]:
        """Return what was counted since the last time, and begin anew."""
        with self._lock:
            taken, self._measured = self._measured, {}
        return taken

    def _add(self, kind: Kind, measured: Measurement) -> None:
        with self._lock:
            self._measured[kind] = self._measured.get(kind, Measurement()) + measured


@dataclass(frozen=True, slots=True)
class RenderCosts:
    """What rendering costs, as far as it is known."""

    measured: Mapping[Kind, Measurement]

    def variant(self, format: Format, pixels: int) -> tuple[float, float]:
        """Return the CPU seconds and the bytes of one variant of so many pixels, all frames together."""
        seconds, size = self._of(kind_of(format, pixels))
        return seconds * pixels / 1e6, size * pixels / 1e6

    def rendering(self, original: Original, format: Format, pixels: int, *, moves: bool) -> float:
        """Return the CPU seconds of decoding an original and drawing one variant of so many pixels.

        What was measured of this very original counts before what its pixels take on average.

        Args:
            moves: all frames are drawn.
        """
        if original.decoding_seconds is None:
            decoding = self.decoding(original.width * original.height * (original.frames if moves else 1))
        else:
            decoding = original.decoding_seconds / (1 if moves else original.frames)
        return decoding + self.variant(format, pixels)[0]

    def decoding(self, pixels: int) -> float:
        """Return the CPU seconds of decoding an original of so many pixels."""
        return self._of((DECODING, 0))[0] * pixels / 1e6

    def _of(self, kind: Kind) -> tuple[float, float]:
        name, size = kind
        # Where none of that size was rendered yet, the next in size will do.
        alike = [known for known in self.measured if known[0] == name and self.measured[known].megapixels > 0]
        if not alike:
            return _FIRST[name]
        found = self.measured[min(alike, key=lambda known: (abs(known[1] - size), known[1]))]
        return found.seconds / found.megapixels, found.bytes / found.megapixels


def kind_of(format: Format, pixels: int) -> Kind:
    """Return the format and how large: 0 the smallest, each next one four times that."""
    size = 0
    while size < _CLASSES - 1 and pixels > _SMALLEST << (2 * size):
        size += 1
    return format.value, size


def read_costs(tx: Tx) -> RenderCosts:
    """Return what has been measured so far."""
    found = tx.connection.execute(sa.select(render_costs))
    return RenderCosts({(row.kind, row.size): Measurement(row.megapixels, row.seconds, row.bytes) for row in found})


def write_costs(tx: Tx, measured: Mapping[Kind, Measurement]) -> None:
    """Add measurements to the rates; what was there before counts less the more is added."""
    # In one order everywhere, so that two processes do not wait for each other.
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
