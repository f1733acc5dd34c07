"""Turn the exceptions of codecs into refusals.

Only calls of codecs run inside these blocks. An exception in Packshot's own code is a fault, so that code runs
outside.
"""

import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image, ImageCms

from packshot.errors import Unrenderable, UnsupportedMedia

# What Pillow's readers raise on damaged files. MemoryError is missing, because it concerns the process, which may not
# be able to continue.
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

# What encoders raise on an image that they cannot write.
_UNWRITABLE = (OSError, RuntimeError, ValueError)

# Words of codecs about files that they do not support.
_UNSUPPORTED = re.compile(r"unsupported|not supported|not implemented|cannot handle|no codec available", re.IGNORECASE)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore Pillow's warnings about unusual metadata inside the block, since an operator cannot act on them.

    The warning filter belongs to the whole process, so this needs a process with a single thread.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def refused_if_damaged(sentence: str) -> Iterator[None]:
    """Turn exceptions of a reader inside the block into refusals, and ignore its warnings.

    Args:
        sentence: message of the refusal.

    Raises:
        UnsupportedMedia: the reader does not support this variety of the format.
        Unrenderable: any other exception of `DAMAGE`.
    """
    with without_warnings():
        try:
            yield
        except DAMAGE as error:
            got = f"{type(error).__name__}: {error}"
            if isinstance(error, NotImplementedError) or _UNSUPPORTED.search(str(error)):
                sentence = "The image is of a variety of its format that is not supported."
                raise UnsupportedMedia(sentence, got=got) from error
            raise Unrenderable(sentence, got=got) from error


@contextmanager
def refused_if_unwritable(sentence: str) -> Iterator[None]:
    """Turn exceptions of an encoder inside the block into a refusal.

    Raises:
        Unrenderable: with `sentence` as its message.
    """
    try:
        yield
    except _UNWRITABLE as error:
        raise Unrenderable(sentence, got=f"{type(error).__name__}: {error}") from error
