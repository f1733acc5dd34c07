"""Measures whether the memory of a process grows over very many renders."""

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import PIL

from bench.measures.report import circumstances, publish, table
from packshot.geometry import Gravity, Mode, Size
from packshot.model import Format
from packshot.render.drawing.pipeline import Rendered, render_all
from packshot.render.limits import Limits
from packshot.variants.plan import DEFAULT_QUALITY, Drawing, Plan, drawing
from tests.support import pictures

_SOURCE = Size(160, 120)
_SAMPLES = 10


def main() -> None:
    arguments = argparse.ArgumentParser(prog="bench/growth", description=__doc__)
    arguments.add_argument("--renders", type=int, default=100_000, help="number of renders (default %(default)s)")
    arguments.add_argument("--print-only", action="store_true", help="do not change docs/benchmarks.md")
    chosen = arguments.parse_args()
    rows = []
    done = 0
    endless = _rounds()
    for sample in range(_SAMPLES + 1):
        wanted = chosen.renders * sample // _SAMPLES
        while done < wanted:
            done += next(endless)
        rows.append([f"{done:,}", f"{_resident():.1f}"])
    text = f"""{circumstances(f"bench/growth --renders {chosen.renders}", f"Pillow {PIL.__version__}")}

Resident memory in MB (10^6 bytes) of one process that draws small JPEG, PNG, WebP and AVIF originals, some with alpha,
some sideways, some damaged, in every mode and format, with blur, corners and backgrounds.

{table(["renders", "MB"], rows)}"""
    publish("bench/growth", text, write=not chosen.print_only)


def _rounds() -> Iterator[int]:
    # Draws one original in many ways, and returns their number.
    photo, cutout = pictures.photo(*_SOURCE), pictures.cutout(*_SOURCE)
    sideways = pictures.jpeg(pictures.turned(photo, 6), exif=pictures.exif(6), icc_profile=pictures.display_p3())
    originals = [sideways, pictures.png(cutout), pictures.webp(cutout), pictures.avif(photo), sideways[:2000]]
    drawings = list(_drawings())
    for turn, original in enumerate(cycle(originals)):
        chosen = list(islice(cycle(drawings), turn * 7 % len(drawings), turn * 7 % len(drawings) + 20))
        outcomes = list(render_all(original, chosen, Limits()))
        assert all(isinstance(outcome, Rendered) for outcome in outcomes) == (original is not originals[-1])
        yield len(outcomes)


def _drawings() -> Iterator[Drawing]:
    for mode in Mode:
        for format in (Format.JPEG, Format.WEBP, Format.PNG, Format.AVIF):
            for size in ((40, 30), (60, 60), (90, 50)):
                plan = Plan(*size, mode, Gravity.CENTER, False, None, DEFAULT_QUALITY.get(format), format)
                plain = drawing(plan, _SOURCE, None)
                yield from (plain, replace(plain, corner=12, background="20406080"), replace(plain, blur=2.0))


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
