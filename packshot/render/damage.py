"""What codecs raise on damaged input, turned into one refusal in one place."""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageCms

from packshot.errors import Unrenderable

# Gathered from Pillow's readers, which let through whatever a damaged file makes
# them stumble on. MemoryError is not among them: it says something of the
# process, which may be in no state to go on.
DAMAGE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    ImageCms.PyCMSError,
    Image.DecompressionBombError,
)


@contextmanager
def refused_if_damaged(sentence: str) -> Iterator[None]:
    """Turn what a codec raises inside the block into `Unrenderable(sentence)`.

    Pillow's warnings about odd metadata are dropped, since nobody can act on
    them. The switch for that is the process's own, which is one more reason to
    draw in processes of one thread.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except DAMAGE as error:
            raise Unrenderable(sentence, got=f"{type(error).__name__}: {error}") from error
