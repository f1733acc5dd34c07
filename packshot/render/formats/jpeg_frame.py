"""Read the frame header of a JPEG: coding process, bit depth, number of components."""

from collections.abc import Iterator
from dataclasses import dataclass

from packshot.errors import UnsupportedMedia

_LOSSLESS = 0xC3
# DHP begins a hierarchical JPEG, before its frame headers.
_HIERARCHY = 0xDE
_JPEG_LS = 0xF7

# Coding processes that libjpeg-turbo decodes.
_SUPPORTED = {0xC0, 0xC1, 0xC2, _LOSSLESS, 0xC9, 0xCA}
_UNSUPPORTED = {
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF, _HIERARCHY), "a hierarchical JPEG"),
    0xCB: "a lossless JPEG with arithmetic coding",
    _JPEG_LS: "a JPEG-LS",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """The first frame header.

    Attributes:
        process: coding process, as the second byte of the SOF marker.
        bits: bits per sample.
        components: 1 for grey, 3 for colour, 4 for CMYK.
        height: in pixels; 0 means that a DNL segment after the first scan holds it.
    """

    process: int
    bits: int
    components: int
    height: int

    @property
    def is_lossless(self) -> bool:
        """Return whether samples are predicted from their neighbours. The decoder cannot scale such an image down."""
        return self.process == _LOSSLESS


def first_frame(data: bytes, segments: Iterator[tuple[int, int]]) -> Frame | None:
    """Return the first frame header; None if the file ends before one.

    Args:
        segments: the second byte of each marker, and the position of its segment.
    """
    for kind, at in segments:
        if kind in _SUPPORTED or kind in _UNSUPPORTED:
            if at + 8 > len(data):
                return None
            return Frame(kind, data[at + 2], data[at + 7], int.from_bytes(data[at + 3 : at + 5], "big"))
    return None


def check_supported(frame: Frame) -> None:
    """Refuse kinds of JPEG that the decoder does not support.

    Raises:
        UnsupportedMedia: the coding process, the bit depth or the number of components is not supported.
    """
    if frame.process in _UNSUPPORTED:
        raise UnsupportedMedia(
            "The image is a kind of JPEG that is not supported.",
            expected="a baseline, extended, progressive or lossless JPEG",
            got=_UNSUPPORTED[frame.process],
        )
    if frame.height == 0:
        raise UnsupportedMedia(
            "The image is a kind of JPEG that is not supported.",
            expected="a JPEG with its height in the frame header",
            got="a JPEG with its height after the first scan (DNL)",
        )
    if frame.bits != 8:
        raise UnsupportedMedia(
            "The image is a JPEG of a bit depth that is not supported.",
            expected="8 bits per sample",
            got=f"{frame.bits} bits per sample",
        )
    if frame.components not in (1, 3, 4):
        raise UnsupportedMedia(
            "The image is a JPEG with a number of components that is not supported.",
            expected="1, 3 or 4 components",
            got=f"{frame.components} components",
        )
