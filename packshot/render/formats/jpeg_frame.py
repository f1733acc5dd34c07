"""The frame header of a JPEG: which coding process, how many bits, how many components."""

from collections.abc import Iterator
from dataclasses import dataclass

from packshot.errors import UnsupportedMedia

_LOSSLESS = 0xC3
# DHP begins a hierarchical JPEG, before the headers of its frames.
_HIERARCHY = 0xDE
_JPEG_LS = 0xF7

# What libjpeg-turbo decodes.
_SUPPORTED = {0xC0, 0xC1, 0xC2, _LOSSLESS, 0xC9, 0xCA}
_UNSUPPORTED = {
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, _HIERARCHY), "a hierarchical JPEG"),
    0xCB: "a lossless JPEG with arithmetic coding",
    _JPEG_LS: "a JPEG-LS",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """What the first frame header says.

    Attributes:
        process: the second byte of the marker.
        bits: of each sample.
        components: 1 for grey, 3 for colour, 4 for CMYK.
        height: of the picture; 0: it stands behind the first scan.
    """

    process: int
    bits: int
    components: int
    height: int

    @property
    def is_lossless(self) -> bool:
        """Whether samples are predicted from their neighbours; then the decoder cannot scale the picture down."""
        return self.process == _LOSSLESS


def first_frame(data: bytes, segments: Iterator[tuple[int, int]]) -> Frame | None:
    """Return the first frame header; None if there is none before the file ends.

    Args:
        segments: each marker's second byte, and where its segment begins.
    """
    for kind, at in segments:
        if kind in _SUPPORTED or kind in _UNSUPPORTED:
            if at + 8 > len(data):
                return None
            return Frame(kind, data[at + 2], data[at + 7], int.from_bytes(data[at + 3 : at + 5], "big"))
    return None


def check_supported(frame: Frame) -> None:
    """Refuse what the decoder cannot read although the file may be sound.

    Raises:
        UnsupportedMedia: the coding process, the bits or the components are not supported.
    """
    if frame.process in _UNSUPPORTED:
        raise UnsupportedMedia(
            "The picture is a kind of JPEG that is not supported.",
            expected="a baseline, extended, progressive or lossless JPEG",
            got=_UNSUPPORTED[frame.process],
        )
    if frame.height == 0:
        raise UnsupportedMedia(
            "The picture is a kind of JPEG that is not supported.",
            expected="a JPEG whose frame header tells its height",
            got="a JPEG that tells its height behind its first scan (DNL)",
        )
    if frame.bits != 8:
        raise UnsupportedMedia(
            "The picture is a JPEG of a bit depth that is not supported.",
            expected="8 bits per sample",
            got=f"{frame.bits} bits per sample",
        )
    if frame.components not in (1, 3, 4):
        raise UnsupportedMedia(
            "The picture is a JPEG with a number of components that is not supported.",
            expected="1, 3 or 4 components",
            got=f"{frame.components} components",
        )
