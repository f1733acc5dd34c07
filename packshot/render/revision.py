"""Which originals come out otherwise than in an earlier release.

A stored variant never changes under its key. So a change of the decoder that moves pixels gets a number here, and
names the originals that it concerns. Ingest keeps the number with the original, and it is part of the fingerprint:
variants of these originals get other keys, all others keep theirs. An original that several changes concern has the
last of them.
"""

from enum import IntEnum


class DecodeRevision(IntEnum):
    """The changes, in order. Numbers are never used again."""

    FIRST = 0
    BLACK_POINT = 1
    """The ICC profile's black is not 0, and is converted with black point compensation."""
    WIDE_KEY = 2
    """A PNG's transparent colour is compared in all 16 bits."""
    IGNORED_CHUNKS = 3
    """A broken or misplaced chunk that describes a PNG's colours or transparency is ignored."""
    CLEAN_APERTURE = 4
    """An AVIF is cropped to its clean aperture; an aperture of a HEIC that makes no sense counts as none."""
    ALPHA_MASK = 5
    """A BMP's own masks of colours and alpha are honoured."""
    TIFF_LAYOUT = 6
    """A TIFF's samples are read in the order of their bytes and planes: 16-bit planes, 32-bit grey, plain YCbCr."""
    RUNS = 7
    """A run-length compressed BMP has rows that are not told from end to end."""
