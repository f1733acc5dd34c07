"""Load: closed loops by wrk, and storms and open loops by asyncio."""

import asyncio
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import httpx2 as httpx


@dataclass(frozen=True)
class Throughput:
    """The result of a closed loop."""

    per_second: float
    failed: int


def hammer(url: str, *, connections: int, seconds: int, script: Path | None = None) -> Throughput:
    """Request one URL, or the URLs of a Lua script, again and again.

    Raises:
        RuntimeError: wrk is missing, or failed.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise RuntimeError("bench/serve needs wrk: apt-get install wrk")
    command = [wrk, "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--timeout", "30s"]
    command += ["-s", str(script)] if script else []
    done = subprocess.run([*command, url], capture_output=True, text=True, check=True)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if rate is None:
        raise RuntimeError(f"wrk failed: {done.stdout}{done.stderr}")
    odd = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    sockets = re.findall(r"(?:connect|read|write|timeout) (\d+)", done.stdout)
    return Throughput(float(rate[1]), (int(odd[1]) if odd else 0) + sum(map(int, sockets)))


@dataclass
class Answers:
    """The responses: seconds by status, and the different bodies."""

    seconds: dict[int, list[float]] = field(default_factory=dict)
    bodies: Counter[str] = field(default_factory=Counter)

    def add(self, status: int, seconds: float, body: bytes) -> None:
        self.seconds.setdefault(status, []).append(seconds)
        if status == 200:
            self.bodies[sha256(body).hexdigest()] += 1

    def statuses(self) -> str:
        """Return the number of responses of each status."""
        return ", ".join(f"{len(times):,} x {status}" for status, times in sorted(self.seconds.items()))

    def slowest(self, status: int, share: float = 1.0) -> float:
        """Return the seconds within which a share of the responses with a status came."""
        times = sorted(self.seconds.get(status, [0.0]))
        return times[min(len(times) - 1, int(share * len(times)))]


def storm(base: str, paths: Sequence[str]) -> Answers:
    """Request all paths at once, each over a connection of its own."""
    return asyncio.run(_open_loop(base, paths, 0.0))


def open_loop(base: str, paths: Sequence[str], per_second: float) -> Answers:
    """Request at a steady rate without waiting; also `/healthz` twenty times a second, recorded as status 0."""
    return asyncio.run(_open_loop(base, paths, 1 / per_second))


async def _open_loop(base: str, paths: Sequence[str], gap: float) -> Answers:
    answers = Answers()
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=base, timeout=120, limits=limits) as client:

        async def ask(path: str, status: int | None = None) -> None:
            began = time.perf_counter()
            answer = await client.get(path)
            answers.add(answer.status_code if status is None else status, time.perf_counter() - began, answer.content)

        async def watch() -> None:
            while True:
                await ask("/healthz", 0)
                await asyncio.sleep(0.05)

        watching = asyncio.create_task(watch()) if gap else None
        began, asked = time.perf_counter(), []
        for number, path in enumerate(paths):
            if gap:
                await asyncio.sleep(max(0.0, began + number * gap - time.perf_counter()))
            asked.append(asyncio.create_task(ask(path)))
        await asyncio.gather(*asked)
        if watching is not None:
            watching.cancel()
    return answers
