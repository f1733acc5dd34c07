"""The environment that render processes, and the processes that start them, are given.

The parent's environment holds secrets: tokens, keys of object stores, passwords. A process keeps its first environment
in its memory, however it changes later. So a new one is started through a short program that replaces itself.
"""

import multiprocessing.util
import os
import re
from collections.abc import Sequence
from typing import Any

# What Python, the loader of libraries, the C library and the allocator read.
_KEPT = re.compile(
    r"PATH|HOME|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|VIRTUAL_ENV|LD_LIBRARY_PATH|DYLD_[A-Z_]+|MALLOC_[A-Z_]+|PYTHON[A-Z0-9]*"
)

# It runs isolated and without site packages, so it takes a hundredth of a second.
_REPLACE = (
    "import os,re,sys;"
    "os.execve(sys.argv[1],sys.argv[3:],{k:v for k,v in os.environ.items() if re.fullmatch(sys.argv[2],k)})"
)

_spawn = multiprocessing.util.spawnv_passfds


def spawn_clean(path: Any, args: Sequence[Any], passfds: Any) -> int:
    """Start a program as `multiprocessing` does, with the allowed part of this process's environment."""
    start = [path, "-I", "-S", "-c", _REPLACE, path, _KEPT.pattern, *args]
    return _spawn(path, [os.fsencode(argument) for argument in start], passfds)


def keep_secrets_from_children() -> None:
    """Have `multiprocessing` start its fork server, its resource tracker and spawned processes with `spawn_clean`.

    It offers no way to say so, and starts a fork server again whenever the last one has ended.
    """
    multiprocessing.util.spawnv_passfds = spawn_clean
