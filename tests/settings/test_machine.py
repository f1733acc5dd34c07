"""The available memory, from the machine and from control groups of both versions."""

from pathlib import Path

import pytest

from packshot.settings.machine import memory_bytes, render_memory_bytes

GIB = 2**30


def group(folder: Path, line: str, files: dict[str, str]) -> tuple[Path, Path]:
    proc, cgroups = folder / "proc", folder / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "cgroup").write_text(line)
    for name, text in files.items():
        path = cgroups / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return proc, cgroups


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("0::/\n", {"memory.max": "1073741824\n"}),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "1073741824\n"}),
        ("0::/a/b\n", {"a/b/memory.max": "1073741824\n", "a/memory.max": "2147483648\n"}),
        # A container sees its own group at the root, although the path is the host's.
        ("0::/docker/1234\n", {"memory.max": "1073741824\n"}),
        ("5:cpu:/x\n4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "1073741824\n"}),
    ],
)
def test_the_smallest_limit_of_a_control_group_counts(tmp_path: Path, line: str, files: dict[str, str]) -> None:
    assert memory_bytes(*group(tmp_path, line, files)) == GIB


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("0::/a\n", {"a/memory.max": "max\n"}),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712\n"}),
        ("", {}),
    ],
)
def test_without_a_limit_it_is_the_machine(tmp_path: Path, line: str, files: dict[str, str]) -> None:
    assert memory_bytes(*group(tmp_path, line, files)) == memory_bytes(tmp_path, tmp_path)
    assert memory_bytes(tmp_path, tmp_path) > GIB // 4


@pytest.mark.parametrize(
    ("memory", "processes", "expected"),
    [(8, 3, 2.0), (24, 3, 4.0), (64, 17, 48 / 17), (4, 3, 1.0), (2, 2, 0.75), (1, 2, 0.5), (128, 3, 4.0)],
)
def test_render_processes_together_leave_a_quarter_free(memory: int, processes: int, expected: float) -> None:
    found = render_memory_bytes(memory * GIB, processes)
    assert found == int(expected * GIB)
    assert found == GIB // 2 or found * processes <= memory * GIB * 3 / 4
