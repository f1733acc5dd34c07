"""Read the answers of render processes without trusting them.

Answers are pickles, and a pickle can call any function. An image that takes over a render process must not take over
the application too. So only the classes of genuine answers are read.
"""

import enum
import errno
import io
import pickle
import sys
from multiprocessing.reduction import ForkingPickler
from typing import Any

_NAMES = {
    ("packshot.errors", "_revive"),
    ("packshot.render.drawing.pipeline", "Rendered"),
    ("packshot.render.drawing.probe", "Facts"),
    ("pebble.common.types", "RemoteException.rebuild_exception"),
    ("pebble.common.types", "Result"),
    ("pebble.common.types", "ResultStatus"),
    ("pebble.pool.process", "Acknowledgement"),
    ("pebble.pool.process", "TaskProblem"),
    ("pebble.pool.process", "TaskResult"),
}


# Python 3.11.0 to 3.11.3 pickles an enumeration member as `getattr(class, name)`, later versions as `class(value)`.
_GETATTR = ("builtins", "getattr")


class ForbiddenAnswer(OSError):
    """A process answered with a class or function that genuine answers do not contain."""


def _member(kind: object, name: object) -> enum.Enum:
    """Return a member of an enumeration. Replaces `getattr` in a pickle, and resolves nothing else.

    Raises:
        ForbiddenAnswer: the arguments are not an enumeration and one of its members.
    """
    if isinstance(kind, enum.EnumType) and isinstance(name, str) and name in kind.__members__:
        member: enum.Enum = kind.__members__[name]
        return member
    raise ForbiddenAnswer(errno.EPROTO, "a render process answered with builtins.getattr of no enumeration")


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _NAMES:
            return super().find_class(module, name)
        if (module, name) == _GETATTR:
            return _member
        # Only classes of loaded modules, because importing a module runs its code.
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
        raise ForbiddenAnswer(errno.EPROTO, f"a render process answered with {module}.{name}")


def read_answer(data: Any, *_: Any, **__: Any) -> Any:
    """Unpickle a message of a render process.

    Raises:
        ForbiddenAnswer: it names a class or function that is not allowed. The process can no longer be trusted.
    """
    return _Reader(io.BytesIO(bytes(data))).load()


def distrust_children() -> None:
    """Make `multiprocessing` read all messages to this process with `read_answer`.

    It has no such setting for a single pipe. Nothing else in the application uses its pipes.
    """
    ForkingPickler.loads = staticmethod(read_answer)
