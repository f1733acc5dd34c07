"""Runs a task with this project's renderer; prints the CPU milliseconds of the second run."""

import sys
import time

from bench.measures.render.task import Task, load
from packshot.geometry import Gravity, Mode, Size
from packshot.model import Format
from packshot.render.decoding.decode import inspect
from packshot.render.drawing.pipeline import Rendered, render_all
from packshot.render.limits import Limits
from packshot.variants.plan import Plan, drawing


def run(task: Task, source: Size) -> None:
    """Draw all variants of an original of `source` pixels in one call, as an order of a pack does."""
    wanted = [(size, format) for size in task.sizes for format in task.formats]
    drawings = [
        drawing(
            Plan(*size, Mode.CROP, Gravity.CENTER, False, None, task.quality(format), Format(format)),
            source,
            None,
        )
        for size, format in wanted
    ]
    for (size, format), outcome in zip(wanted, render_all(task.data, drawings, Limits()), strict=True):
        assert isinstance(outcome, Rendered), outcome
        task.keep(size, format, outcome.data)


if __name__ == "__main__":
    task = load(sys.argv[1])
    header = inspect(task.data, Limits())  # Packshot itself takes the size from the catalog.
    source = Size(header.width, header.height)
    run(task, source)
    start = time.process_time()
    run(task, source)
    print((time.process_time() - start) * 1000)
