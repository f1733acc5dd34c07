"""Measures the peak memory of a render process for originals of 50 megapixels."""

import argparse
import multiprocessing
import multiprocessing.connection
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL
from PIL import Image

from bench.measures.report import circumstances, publish, table
from packshot.geometry import Gravity, Mode, Size
from packshot.model import Format
from packshot.render.drawing.pipeline import Rendered, render_all
from packshot.render.limits import Limits
from packshot.variants.plan import DEFAULT_QUALITY, Plan, drawing
from tests.support import pictures

SOURCE = Size(8660, 5774)
SIZES = [Size(3840, 2160), Size(1920, 1080), Size(640, 360)]
_BAR = 450
_TILE = Size(1732, 1155)


def main() -> None:
    arguments = argparse.ArgumentParser(prog="bench/memory", description=__doc__)
    arguments.add_argument("--print-only", action="store_true", help="do not change docs/benchmarks.md")
    chosen = arguments.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for described, path in _originals(Path(name)):
            alone = [_peak(path, [size]) for size in SIZES]
            together = _peak(path, SIZES)
            rows.append([described, *(f"{megabytes:.0f}" for megabytes in (*alone, together))])
    head = ["original", *(f"{width}x{height}" for width, height in SIZES), "all three"]
    text = f"""{circumstances("bench/memory", f"Pillow {PIL.__version__}")}

Peak resident memory in MB (10^6 bytes) of a fresh process that draws {SOURCE.width}x{SOURCE.height} pixels to JPEG,
WebP and AVIF; the bar is {_BAR}. A process that has drawn nothing takes {_peak(None, []):.0f}.

{table(head, rows)}"""
    publish("bench/memory", text, write=not chosen.print_only)


def _originals(folder: Path) -> Iterator[tuple[str, Path]]:
    tile = pictures.photo(*_TILE)
    canvas = Image.new("RGB", SOURCE)
    for left in range(0, SOURCE.width, _TILE.width):
        for top in range(0, SOURCE.height, _TILE.height):
            canvas.paste(tile, (left, top))
    files: dict[str, tuple[str, dict[str, Any]]] = {
        "JPEG": ("jpg", {"quality": 90}),
        "JPEG, progressive": ("jpg", {"quality": 90, "progressive": True}),
        "PNG": ("png", {"compress_level": 1}),
        "PNG with alpha": ("png", {"compress_level": 1}),
    }
    for described, (extension, options) in files.items():
        if described == "PNG with alpha":
            canvas.putalpha(Image.linear_gradient("L").resize(SOURCE))
        path = folder / f"original.{extension}"
        canvas.save(path, **options)
        yield described, path


def _peak(original: Path | None, sizes: list[Size]) -> float:
    """Return the peak memory, in megabytes, of a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_draw, args=(original, sizes, sender))
    process.start()
    sender.close()
    answer: float = receiver.recv()
    process.join()
    return answer


def _draw(original: Path | None, sizes: list[Size], sender: "multiprocessing.connection.Connection") -> None:
    if original is not None:
        plans = [
            Plan(*size, Mode.CROP, Gravity.CENTER, False, None, DEFAULT_QUALITY[format], format)
            for size in sizes
            for format in (Format.JPEG, Format.WEBP, Format.AVIF)
        ]
        drawings = [drawing(plan, SOURCE, None) for plan in plans]
        for outcome in render_all(original.read_bytes(), drawings, Limits()):
            assert isinstance(outcome, Rendered), outcome
    sender.send(_most())


def _most() -> float:
    # `getrusage` would include the parent's memory, because a child begins as its copy.
    status = Path("/proc/self/status").read_text().split()
    return int(status[status.index("VmHWM:") + 1]) * 1024 / 1e6


if __name__ == "__main__":
    main()
