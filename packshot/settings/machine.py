"""The memory of the machine, or of the control group of this process."""

import os
from pathlib import Path, PurePosixPath

# A control group of version 1 that has no limit reports a number near 2^63.
_NO_LIMIT = 2**60


def memory_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how much memory this process and its children may use: the machine's, or the limit of a control group."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_group_limits(proc, cgroups)])


def _group_limits(proc: Path, cgroups: Path) -> list[int]:
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return []  # This is not Linux.
    limits = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            limits += _limits_along(cgroups, path, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits_along(cgroups / "memory", path, "memory.limit_in_bytes")
    return limits


def _limits_along(root: Path, path: str, name: str) -> list[int]:
    # The limit of a group also holds for all groups below it. In a container, the path may be the host's, and the
    # container's own group is at the root.
    group = PurePosixPath(path.lstrip("/"))
    found = []
    for folder in (group, *group.parents):
        try:
            text = (root / folder / name).read_text().strip()
        except OSError:
            continue
        if text.isdecimal() and int(text) < _NO_LIMIT:
            found.append(int(text))
    return found


def render_memory_bytes(memory: int, processes: int) -> int:
    """Return the memory limit of each of `processes` render processes on a machine with `memory` bytes.

    A quarter of the memory, at least 512 MiB, stays free for the application and other programs. The rest is divided. A
    process gets at least 512 MiB, which a photograph of 24 megapixels needs, and at most 4 GiB.
    """
    rest = memory - max(memory // 4, _MIN_PROCESS_BYTES)
    return min(max(rest // processes, _MIN_PROCESS_BYTES), _MAX_PROCESS_BYTES)


_MIN_PROCESS_BYTES, _MAX_PROCESS_BYTES = 512 * 2**20, 4 * 2**30
