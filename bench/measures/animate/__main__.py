"""Renders GIF variants of animations in three sizes, and reports their bytes and CPU time beside sharp's."""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import PIL

from bench.measures.animate.drawn import drawn
from bench.measures.render.peers import sharp_in
from bench.measures.report import circumstances, publish, table
from packshot.geometry import Gravity, Mode, Size
from packshot.model import Format
from packshot.render.decoding.decode import inspect
from packshot.render.drawing.pipeline import Rendered, render_all
from packshot.render.limits import Limits
from packshot.variants.plan import Plan, drawing

_HERE = Path(__file__).parent
SCALES = (1.0, 0.75, 0.4)
# The largest ratios, ours to sharp's, of bytes and of CPU seconds over all animations.
_MOST_BYTES, _MOST_TIME = 1.1, 1.5


@dataclass(frozen=True)
class Task:
    """One variant: its size in pixels; None: the original's size."""

    path: Path
    name: str
    original: Size
    size: Size | None


@dataclass(frozen=True)
class Result:
    """Bytes of a file, and the CPU seconds of rendering it."""

    length: int
    seconds: float


def main() -> None:
    arguments = argparse.ArgumentParser(prog="bench/animate", description=__doc__)
    arguments.add_argument("gifs", nargs="*", type=Path, help="further animations, besides the drawn ones")
    arguments.add_argument(
        "--scratch",
        type=Path,
        default=Path(tempfile.gettempdir()) / "packshot-bench",
        help="folder where peers are installed (default %(default)s)",
    )
    arguments.add_argument("--print-only", action="store_true", help="do not change docs/benchmarks.md")
    chosen = arguments.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", VIPS_CONCURRENCY="1")

    found = sharp_in(chosen.scratch)
    if found is None:
        print("sharp is not measured: Node.js or the npm package is not available.", file=sys.stderr)
    with tempfile.TemporaryDirectory() as name:
        tasks = _tasks(chosen.gifs, Path(name))
        ours = [_draw(task) for task in tasks]
        theirs = None if found is None else _sharp(chosen.scratch, tasks)
    command = shlex.join(["bench/animate", *(gif.name for gif in chosen.gifs)])
    versions = [f"Pillow {PIL.__version__}", *([] if found is None else [found[1]])]
    text = f"""{circumstances(command, *versions)}

{_table(tasks, ours, theirs)}"""
    publish("bench/animate", text, write=not chosen.print_only)


def _tasks(gifs: list[Path], folder: Path) -> list[Task]:
    paths = {gif.name: gif for gif in gifs}
    for name, data in drawn():
        paths[name] = folder / f"{name}.gif"
        paths[name].write_bytes(data)
    tasks = []
    for name, path in paths.items():
        header = inspect(path.read_bytes(), Limits())
        original = Size(header.width, header.height)
        for scale in SCALES:
            size = Size(*(max(1, round(side * scale)) for side in original))
            tasks.append(Task(path, name, original, None if scale == 1 else size))
    return tasks


def _draw(task: Task) -> Result:
    size = task.size or task.original
    plan = Plan(*size, Mode.STRETCH, Gravity.CENTER, False, None, None, Format.GIF)
    data = task.path.read_bytes()
    start = time.process_time()
    (outcome,) = render_all(data, [drawing(plan, task.original, None)], Limits())
    assert isinstance(outcome, Rendered), outcome
    return Result(len(outcome.data), time.process_time() - start)


def _sharp(scratch: Path, tasks: list[Task]) -> list[Result]:
    script = scratch / "animations.mjs"
    shutil.copy(_HERE / "sharp.mjs", script)
    wanted = [
        {"path": str(task.path)} | ({"width": task.size.width, "height": task.size.height} if task.size else {})
        for task in tasks
    ]
    ran = subprocess.run(["node", script, json.dumps(wanted)], capture_output=True, text=True, check=True)  # noqa: S607
    return [Result(length, seconds) for length, seconds in json.loads(ran.stdout)]


def _table(tasks: list[Task], ours: list[Result], theirs: list[Result] | None) -> str:
    if theirs is None:
        rows = [_row(task, result) for task, result in zip(tasks, ours, strict=True)]
        return table(["animation", "size", "bytes", "CPU s"], rows)
    rows = [
        [*_row(task, mine), str(other.length), f"{other.seconds:.2f}", *_ratios(mine, other)]
        for task, mine, other in zip(tasks, ours, theirs, strict=True)
    ]
    mine, other = (Result(sum(one.length for one in all), sum(one.seconds for one in all)) for all in (ours, theirs))
    sums = [str(mine.length), f"{mine.seconds:.2f}", str(other.length), f"{other.seconds:.2f}"]
    rows.append(["all", "", *sums, *_ratios(mine, other)])
    rows.append(["bar", "", "", "", "", "", f"{_MOST_BYTES:.2f}", f"{_MOST_TIME:.2f}"])
    head = ["animation", "size", "bytes", "CPU s", "sharp's bytes", "CPU s", "bytes ours / theirs", "CPU ours / theirs"]
    return table(head, rows)


def _row(task: Task, result: Result) -> list[str]:
    width, height = task.size or task.original
    return [task.name, f"{width}x{height}", str(result.length), f"{result.seconds:.2f}"]


def _ratios(ours: Result, theirs: Result) -> list[str]:
    return [f"{ours.length / theirs.length:.2f}", f"{ours.seconds / theirs.seconds:.2f}"]


main()
