"""What a render process answers, read without believing it.

Answers come as pickles, and a pickle can name any function to be called. A picture that takes a render process over
must not get a hold of the application by one. So only what an honest process answers is read.
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


# Python 3.11.0 to 3.11.3 pickles a member of an enumeration as `getattr(class, name)`, later ones as `class(value)`.
_GETATTR = ("builtins", "getattr")


class ForbiddenAnswer(OSError):
    """A process answered with something that no honest one does."""


def _member(kind: object, name: object) -> enum.Enum:
    """Return a member of an enumeration; stands for `getattr` in a pickle, and resolves nothing else."""
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
        # Only of what is loaded: to import a module runs it.
        found = getattr(sys.modules.get(module), name, None)
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
        raise ForbiddenAnswer(errno.EPROTO, f"a render process answered with {module}.{name}")


def read_answer(data: Any, *_: Any, **__: Any) -> Any:
    """Return what a message of a render process holds.

    Raises:
        ForbiddenAnswer: it names something that answers do not hold; the process is not to be believed any more.
    """
    return _Reader(io.BytesIO(bytes(data))).load()


def distrust_children() -> None:
    """Have `multiprocessing` read everything that reaches this process with `read_answer`.

    It offers no way to say so for one pipe. Nothing else in the application uses it.
    """
    ForkingPickler.loads = staticmethod(read_answer)
