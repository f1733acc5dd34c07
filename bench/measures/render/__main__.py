"""Runs the measurements of rendering, and writes the results into docs/benchmarks.md."""

import argparse
import os
import shlex
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from statistics import mean

import PIL
from PIL import features

from bench.measures.render.peers import NAIVE, OURS, Peer, medians, sharp_in
from bench.measures.render.photo import originals
from bench.measures.render.quality import Quality, qualities
from bench.measures.render.task import AVIF_SPEED, SIZES, Task
from bench.measures.report import circumstances, publish, table

# The largest ratio, ours to sharp's, of CPU time.
_BARS = {"12 JPEG": 0.70, "12 x (JPEG + WebP + AVIF)": 0.45, "one cold JPEG to 720x588": 1.0}


def main() -> None:
    arguments = argparse.ArgumentParser(prog="bench/render", description=__doc__)
    arguments.add_argument("photos", nargs="*", type=Path, help="photographs; default: drawn images")
    arguments.add_argument(
        "--rounds", type=int, default=7, help="how often each peer runs each task (default %(default)s)"
    )
    arguments.add_argument(
        "--scratch",
        type=Path,
        default=Path(tempfile.gettempdir()) / "packshot-bench",
        help="folder where peers are installed (default %(default)s)",
    )
    arguments.add_argument("--print-only", action="store_true", help="do not change docs/benchmarks.md")
    chosen = arguments.parse_args()
    # Every peer gets one thread.
    os.environ.update(OMP_NUM_THREADS="1", VIPS_CONCURRENCY="1")

    found = sharp_in(chosen.scratch)
    if found is None:
        print("sharp is not measured: Node.js or the npm package is not available.", file=sys.stderr)
    peers = [OURS, *([found[0]] if found else []), NAIVE]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large, small, described = originals(chosen.photos, folder)
        every = Task(str(large), [(width, height) for width, height in SIZES], ["jpeg", "webp", "avif"])
        tasks = {
            "12 JPEG": Task(every.original, every.sizes, ["jpeg"]),
            "12 x (JPEG + WebP + AVIF)": every,
            "one cold JPEG to 720x588": Task(str(small), [(720, 588)], ["jpeg"]),
        }
        times = _times(peers, tasks, chosen.rounds)
        likeness = _likeness(
            peers, {"12-megapixel original": every, "720x588": tasks["one cold JPEG to 720x588"]}, folder
        )

    command = shlex.join(["bench/render", *(photo.name for photo in chosen.photos), "--rounds", str(chosen.rounds)])
    simd = "with cykooz-resizer" if find_spec("cykooz_resizer") else "without cykooz-resizer"
    versions = [f"Pillow {PIL.__version__} ({_codecs()}) {simd}", *([found[1]] if found else [])]
    text = f"""{circumstances(command, *versions)}

Original: {described}. CPU milliseconds of a warm process, its start in brackets; median of {chosen.rounds}
rounds in which all peers take turns; one thread each, sharp's cache off, AVIF at libaom speed {AVIF_SPEED} for all.

{times}

Likeness (SSIM of luma to Lanczos of the full-size original in floating point) and bytes of the same files:

{likeness}"""
    publish("bench/render", text, write=not chosen.print_only)


def _times(peers: list[Peer], tasks: dict[str, Task], rounds: int) -> str:
    rows = []
    for name, task in tasks.items():
        taken = medians(peers, task, rounds)
        ours = taken["ours"][0]
        ratios = [f"{ours / taken[peer][0]:.2f}" if peer in taken else "–" for peer in ("sharp", "Pillow")]
        # The process runs the task twice.
        cells = [f"{warm:.0f} (+{max(0.0, whole - 2 * warm):.0f})" for warm, whole in taken.values()]
        rows.append([name, *ratios, f"{_BARS[name]:.2f}", *cells])
    return table(["task", "ours / sharp", "ours / Pillow", "bar (sharp)", *(peer.name for peer in peers)], rows)


def _likeness(peers: list[Peer], tasks: dict[str, Task], folder: Path) -> str:
    rows = []
    for name, task in tasks.items():
        found = qualities(peers, task, folder)
        for format in task.formats:
            ours = found["ours", format]
            for peer in peers[1:]:
                rows.append([name, format, peer.name, *_compared(ours, found[peer.name, format])])
    return table(["original", "format", "beside", "ours", "theirs", "worst difference", "bytes ours / theirs"], rows)


def _compared(ours: Quality, theirs: Quality) -> list[str]:
    worst = min(mine - other for mine, other in zip(ours.likeness, theirs.likeness, strict=True))
    length = sum(ours.length) / sum(theirs.length)
    return [f"{mean(ours.likeness):.4f}", f"{mean(theirs.likeness):.4f}", f"{worst:+.4f}", f"{length:.3f}"]


def _codecs() -> str:
    names = {"libjpeg_turbo": "libjpeg-turbo", "webp": "libwebp", "avif": "libavif"}
    return ", ".join(f"{spelled} {features.version(name)}" for name, spelled in names.items())


main()
