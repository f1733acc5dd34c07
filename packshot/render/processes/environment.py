"""Start render processes and their helpers without the secrets in this process's environment.

The environment holds tokens, keys of object stores and passwords. A process keeps its initial environment in its
memory, even if it changes it later. So each process starts as a short program that replaces itself.
"""

import multiprocessing.util
import os
import re
from collections.abc import Sequence
from typing import Any

# Variables that Python, the dynamic loader, the C library and the allocator read.
_KEPT = re.compile(
    r"PATH|HOME|LANG|LANGUAGE|LC_[A-Z]+|TZ|TMPDIR|VIRTUAL_ENV|LD_LIBRARY_PATH|DYLD_[A-Z_]+|MALLOC_[A-Z_]+|PYTHON[A-Z0-9]*"
)

# It runs isolated and without site packages, which takes about 10 ms.
_REPLACE = (
    "import os,re,sys;"
    "os.execve(sys.argv[1],sys.argv[3:],{k:v for k,v in os.environ.items() if re.fullmatch(sys.argv[2],k)})"
)

_spawn = multiprocessing.util.spawnv_passfds


def spawn_clean(path: Any, args: Sequence[Any], passfds: Any) -> int:
    """Start a program as `multiprocessing` does, with only the allowed variables of this process's environment."""
    start = [path, "-I", "-S", "-c", _REPLACE, path, _KEPT.pattern, *args]
    return _spawn(path, [os.fsencode(argument) for argument in start], passfds)


def keep_secrets_from_children() -> None:
    """Make `multiprocessing` start its fork server, its resource tracker and spawned processes with `spawn_clean`.

    It has no setting for that, and it restarts the fork server when the last one has ended.
    """
    multiprocessing.util.spawnv_passfds = spawn_clean
