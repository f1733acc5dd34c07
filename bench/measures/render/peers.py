"""The peers that run the same task, each in a process of its own."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.measures.render.task import Task

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Peer:
    """A program that can run a task.

    Attributes:
        command: the command, to which the task is added as one argument.
    """

    name: str
    command: tuple[str, ...]

    def run(self, task: Task) -> tuple[float, float]:
        """Return the CPU milliseconds of the task, and of the whole process, which runs it twice.

        Raises:
            RuntimeError: the process failed.
        """
        with subprocess.Popen([*self.command, task.dump()], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            answer = process.stdout.read()
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{self.name} failed with exit code {process.returncode}")
        return float(answer), (used.ru_utime + used.ru_stime) * 1000


OURS = Peer("ours", (sys.executable, "-m", "bench.measures.render.ours"))
NAIVE = Peer("Pillow", (sys.executable, "-m", "bench.measures.render.naive"))


def sharp_in(scratch: Path) -> tuple[Peer, str] | None:
    """Install sharp into `scratch` if it is missing; None without Node.js or the package."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    scratch.mkdir(parents=True, exist_ok=True)
    script = scratch / "sharp.mjs"
    shutil.copy(_HERE / "sharp.mjs", script)
    if not (scratch / "node_modules" / "sharp").exists():
        installed = subprocess.run([npm, "install", "--silent", "--prefix", scratch, "sharp"], check=False)
        if installed.returncode:
            return None
    found = subprocess.run([node, script, "versions"], capture_output=True, text=True, check=False)
    if found.returncode:
        return None
    return Peer("sharp", (node, str(script))), found.stdout.strip()


def medians(peers: list[Peer], task: Task, rounds: int) -> dict[str, tuple[float, float]]:
    """Run the peers in turns, so that other work of the machine affects all of them alike."""
    taken: dict[str, list[tuple[float, float]]] = {peer.name: [] for peer in peers}
    for _ in range(rounds):
        for peer in peers:
            taken[peer.name].append(peer.run(task))
    return {
        name: (median(warm for warm, _ in runs), median(whole for _, whole in runs)) for name, runs in taken.items()
    }
