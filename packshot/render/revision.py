"""Number the decoder changes that alter the pixels of some originals.

A stored variant never changes under its key. So each such change gets a number, the decode revision. Ingest stores the
number of the last change that affects an original, and the fingerprint contains it. Variants of affected originals get
new keys, and all others keep theirs.
"""

from enum import IntEnum


class DecodeRevision(IntEnum):
    """The changes, in order. Numbers are never reused."""

    FIRST = 0
    BLACK_POINT = 1
    """The black of the ICC profile is not 0, so black point compensation changes the colours."""
    WIDE_KEY = 2
    """The transparent colour of a PNG is compared in all 16 bits."""
    IGNORED_CHUNKS = 3
    """A broken or misplaced chunk for a PNG's colours or transparency is ignored."""
    CLEAN_APERTURE = 4
    """An AVIF is cropped to its clean aperture. An invalid aperture of a HEIC is ignored."""
    ALPHA_MASK = 5
    """The channel masks and the alpha mask of a BMP are used."""
    TIFF_LAYOUT = 6
    """The samples of a TIFF are read in the right order: 16-bit planes, 32-bit grey, uncompressed YCbCr."""
    RUNS = 7
    """The runs of a compressed BMP do not cover all of its rows."""
