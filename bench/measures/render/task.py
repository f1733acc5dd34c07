"""The measured task: one original, the sizes that it is cropped to, the formats."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from packshot.geometry import Size
from packshot.model import Format
from packshot.variants.plan import DEFAULT_QUALITY

SIZES = [
    Size(*size)
    for size in [
        (1920, 1080), (1280, 720), (960, 540), (640, 360), (480, 270), (320, 180),
        (600, 900), (300, 450), (150, 225), (400, 400), (200, 200), (100, 100),
    ]
]  # fmt: skip
AVIF_SPEED = 9
"""The speed of libaom for all peers; sharp calls it effort 0."""


@dataclass(frozen=True)
class Task:
    """Draw every size in every format.

    Attributes:
        original: path of the original.
        sizes: width and height of each variant in pixels.
        formats: "jpeg", "webp" or "avif", each at Packshot's default quality.
        output: folder for the files, named like `640x360.webp`; None: they are dropped.
    """

    original: str
    sizes: list[tuple[int, int]]
    formats: list[str]
    output: str | None = None

    @property
    def data(self) -> bytes:
        return Path(self.original).read_bytes()

    def quality(self, format: str) -> int:
        return DEFAULT_QUALITY[Format(format)]

    def keep(self, size: tuple[int, int], format: str, data: bytes) -> None:
        if self.output is not None:
            self.path(size, format).write_bytes(data)

    def path(self, size: tuple[int, int], format: str) -> Path:
        assert self.output is not None
        return Path(self.output) / f"{size[0]}x{size[1]}.{format}"

    def dump(self) -> str:
        qualities = {format: self.quality(format) for format in self.formats}
        return json.dumps({**asdict(self), "qualities": qualities, "effort": 9 - AVIF_SPEED})


def load(text: str) -> Task:
    """Read the output of `Task.dump`."""
    fields = json.loads(text)
    return Task(fields["original"], [tuple(size) for size in fields["sizes"]], fields["formats"], fields["output"])
