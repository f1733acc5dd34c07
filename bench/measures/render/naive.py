"""Runs a task with simple Pillow code; prints the CPU milliseconds of the second run."""

import sys
import time
from io import BytesIO

from PIL import Image, ImageOps

from bench.measures.render.task import AVIF_SPEED, Task, load


def run(task: Task) -> None:
    """Open, resize and save the original again for each variant."""
    for size in task.sizes:
        for format in task.formats:
            picture = ImageOps.fit(Image.open(BytesIO(task.data)), size, Image.Resampling.LANCZOS)
            options = {"speed": AVIF_SPEED, "max_threads": 1} if format == "avif" else {}
            file = BytesIO()
            picture.save(file, format, quality=task.quality(format), **options)
            task.keep(size, format, file.getvalue())


if __name__ == "__main__":
    task = load(sys.argv[1])
    run(task)
    start = time.process_time()
    run(task)
    print((time.process_time() - start) * 1000)
