"""What codecs raise on input they cannot read or write, turned into refusals in one place.

Only calls of codecs run inside these blocks. Packshot's own code runs outside: what it raises is a bug, and neither a
damaged file nor a refusal.
"""

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageCms

from packshot.errors import Unrenderable, UnsupportedMedia

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

# What encoders raise on a picture that they cannot write.
_UNWRITABLE = (OSError, RuntimeError, ValueError)

# So codecs call a file that may be sound but that they cannot read.
_UNSUPPORTED = re.compile(r"unsupported|not supported|not implemented|cannot handle|no codec available", re.IGNORECASE)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Drop Pillow's warnings about odd metadata inside the block, since an operator cannot act on them.

    The switch for that is the process's own, which is one more reason to draw in processes of one thread.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def refused_if_damaged(sentence: str) -> Iterator[None]:
    """Turn what a reader raises inside the block into a refusal; its warnings are dropped.

    Raises:
        UnsupportedMedia: the reader does not support this form of the format.
        Unrenderable: everything else, with `sentence`.
    """
    with without_warnings():
        try:
            yield
        except DAMAGE as error:
            got = f"{type(error).__name__}: {error}"
            if isinstance(error, NotImplementedError) or _UNSUPPORTED.search(str(error)):
                sentence = "The picture is in a form of its format that is not supported."
                raise UnsupportedMedia(sentence, got=got) from error
            raise Unrenderable(sentence, got=got) from error


@contextmanager
def refused_if_unwritable(sentence: str) -> Iterator[None]:
    """Turn what an encoder raises inside the block into `Unrenderable(sentence)`."""
    try:
        yield
    except _UNWRITABLE as error:
        raise Unrenderable(sentence, got=f"{type(error).__name__}: {error}") from error
