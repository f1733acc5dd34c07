"""The likeness of variants to Lanczos of the full-size original in floating point."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from bench.measures.render.peers import Peer
from bench.measures.render.task import Task
from packshot.geometry import Anchor, Size, cover_box
from tests.support import reference


@dataclass(frozen=True)
class Quality:
    """One peer's variants in one format.

    Attributes:
        likeness: SSIM of each size, in the order of the task.
        length: bytes of each.
    """

    likeness: list[float]
    length: list[int]


def qualities(peers: list[Peer], task: Task, folder: Path) -> dict[tuple[str, str], Quality]:
    """Return the quality by the peer's name and the format."""
    pixels = np.asarray(Image.open(task.original).convert("RGB"), float)
    source = Size(pixels.shape[1], pixels.shape[0])
    boxes = [cover_box(source, Size(*size), Anchor(0.5, 0.5)) for size in task.sizes]
    wanted = [reference.lanczos(pixels, box, Size(*size)) for box, size in zip(boxes, task.sizes, strict=True)]
    found = {}
    for peer in peers:
        output = folder / peer.name
        output.mkdir(exist_ok=True)
        kept = replace(task, output=str(output))
        peer.run(kept)
        for format in task.formats:
            paths = [kept.path(size, format) for size in task.sizes]
            likeness = [
                reference.ssim(np.asarray(Image.open(path).convert("RGB")), expected)
                for path, expected in zip(paths, wanted, strict=True)
            ]
            found[peer.name, format] = Quality(likeness, [path.stat().st_size for path in paths])
    return found
