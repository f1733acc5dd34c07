"""Measures the response times of other clients and the memory of the server while hostile clients try to exhaust it."""

import argparse
import asyncio
import base64
import json
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from io import BytesIO
from pathlib import Path

import httpx2 as httpx
import PIL
import psutil
import websockets
from PIL import Image

from bench.measures.report import circumstances, publish, table
from serve.http.passwords import HASHER
from tests.support.pictures import jpeg, noise, photo
from tests.support.server import Server, serving

Row = list[str]
WIDTHS = 12
TRICKLING = 200
# The server limits a wait to 4 seconds.
P95_BAR_SECONDS = 4.0
GROWTH_BAR_MB = 64
HEADER = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"


class Bench:
    """One run: the seconds of each attack, and the folder for its data."""

    def __init__(self, seconds: int, folder: Path) -> None:
        self.seconds, self._folder, self._count = seconds, folder, 0

    @contextmanager
    def _served(self, **settings: str) -> Iterator[Server]:
        self._count += 1
        with serving(self._folder / f"data-{self._count}", ready=200, **settings) as server:
            yield server

    def renders(self) -> Iterator[Row]:
        """New renders of other packs, while twelve widths of the slowest accepted original are requested again and
        again.
        """
        with self._served() as server:
            good = []
            for seed in range(3):
                pack_id, job_id = server.pack_showing(jpeg(photo(1600, 1200, seed=seed)))
                server.wait_for_job(job_id)
                good.append(pack_id)
            alone = asyncio.run(_others(server.base, good, 5, first_width=200))
            name, hostile, refused = _slowest_accepted(server)
            calm = threading.Event()
            attack = threading.Thread(target=lambda: asyncio.run(_attack(server, hostile, calm)))
            attack.start()
            time.sleep(2)
            seen = asyncio.run(_others(server.base, good, self.seconds, first_width=500))
            calm.set()
            attack.join()
        found = (
            f"p50 {_share(seen.seconds, 0.5):.2f} s, p95 {_share(seen.seconds, 0.95):.2f} s,"
            f" slowest {max(seen.seconds):.2f} s ({seen.describe()});"
            f" undisturbed p95 {_share(alone.seconds, 0.95):.2f} s"
        )
        yield [f"refused at ingest: {', '.join(refused) or 'none'}", "", ""]
        yield [
            f"new renders of 3 packs, {name} at {WIDTHS} widths, {TRICKLING} connections with 1 byte/s",
            found,
            f"p95 <= {P95_BAR_SECONDS:g} s",
        ]

    def headers(self) -> Iterator[Row]:
        """Endless headers, on 8 connections."""
        with self._served() as server:
            yield self._grown("endless headers", server, lambda: asyncio.run(_pour(server, _endless_headers())))
            accept = HEADER + b"Accept: " + b"*," * 10_000_000 + b"\r\n\r\n"
            yield self._grown("an Accept header of 20 MB", server, lambda: asyncio.run(_pour(server, iter([accept]))))

    def multipart(self) -> Iterator[Row]:
        """Endless empty parts of a form, without a token."""
        with self._served() as server:
            yield self._grown("endless empty parts", server, lambda: asyncio.run(_pour(server, _empty_parts())))

    def passwords(self) -> Iterator[Row]:
        """Sixty clients that try passwords."""
        users = "editor:" + HASHER.hash("a right long password")
        with self._served(PACKSHOT_BASIC_USERS=users) as server:
            guess = lambda: asyncio.run(_guess(server, self.seconds))  # noqa: E731
            yield self._grown("60 clients that try passwords", server, guess)

    def websockets(self) -> Iterator[Row]:
        """Twenty sockets with 100 subscriptions each, and three edits."""
        with self._served() as server:
            pack_id, job_id = server.pack_showing(jpeg(photo(400, 300)))
            server.wait_for_job(job_id)
            yield self._grown(
                "20 sockets x 100 subscriptions, 3 edits", server, lambda: asyncio.run(_subscribe(server, pack_id))
            )

    def _grown(self, what: str, server: Server, attack: Callable[[], None]) -> Row:
        """Attack, and meanwhile measure the application's memory, its CPU seconds and the health endpoint."""
        process = psutil.Process(server.process.pid)
        before, cpu = process.memory_info().rss, sum(process.cpu_times()[:2])
        most, waits, ended = [before], [0.0], threading.Event()

        def watch() -> None:
            with httpx.Client(base_url=server.base, timeout=60) as client:
                while not ended.wait(0.05):
                    most.append(process.memory_info().rss)
                    begun = time.monotonic()
                    client.get("/healthz")
                    waits.append(time.monotonic() - begun)

        watcher = threading.Thread(target=watch)
        watcher.start()
        begun = time.monotonic()
        attack()
        lasted = time.monotonic() - begun
        ended.set()
        watcher.join()
        used = sum(process.cpu_times()[:2]) - cpu
        found = (
            f"+{(max(most) - before) / 1e6:.0f} MB, {used:.1f} CPU s in {lasted:.0f} s, health p95"
            f" {_share(waits, 0.95) * 1000:.0f} ms, slowest {max(waits) * 1000:.0f} ms"
        )
        return [what, found, f"< {GROWTH_BAR_MB} MB"]


class Seen:
    """The responses to other clients: seconds and status of each."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.statuses: Counter[int] = Counter()

    def describe(self) -> str:
        return ", ".join(f"{count} x {status}" for status, count in sorted(self.statuses.items()))


def _share(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


async def _others(base: str, packs: list[str], seconds: int, *, first_width: int) -> Seen:
    """Request new widths of the packs twice a second, without waiting for earlier responses."""
    seen = Seen()

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        begun = time.monotonic()
        path = f"/api/v2/img/{packs[number % len(packs)]}?width={first_width + number}"
        answer = await client.get(path)
        seen.seconds.append(time.monotonic() - begun)
        seen.statuses[answer.status_code] += 1

    async with httpx.AsyncClient(base_url=base, timeout=120) as client:
        asked = []
        for number in range(2 * seconds):
            asked.append(asyncio.create_task(ask(client, number)))
            await asyncio.sleep(0.5)
        await asyncio.gather(*asked)
    return seen


def _slowest_accepted(server: Server) -> tuple[str, str, list[str]]:
    """Upload originals that decode slowly; return name and pack of the slowest accepted one, and the refused ones."""
    accepted, refused = [], []
    for name, media_type, data in _hostile_originals():
        begun = time.monotonic()
        try:
            pack_id, job_id = server.pack_showing(data, media_type=media_type)
        except AssertionError:
            refused.append(name)
            continue
        server.wait_for_job(job_id, 300)
        accepted.append((time.monotonic() - begun, name, pack_id))
    if not accepted:
        raise RuntimeError("every slow original was refused; add a slower one that is accepted")
    _, name, pack_id = max(accepted)
    return name, pack_id, refused


def _hostile_originals() -> Iterator[tuple[str, str, bytes]]:
    small = BytesIO()
    Image.new("RGB", (64, 64)).save(small, "PNG")
    png = small.getvalue()
    chunks = png.index(b"IDAT") - 4
    empty = b"\0\0\0\0IDAT\x35\xaf\x06\x1e"
    yield "PNG with 5,000,000 empty chunks", "image/png", png[:chunks] + empty * 5_000_000 + png[chunks:]
    yield "PNG with 200 empty chunks", "image/png", png[:chunks] + empty * 200 + png[chunks:]
    yield "progressive noise of 36 MP", "image/jpeg", jpeg(noise(6000, 6000), quality=60, progressive=True)
    wide = BytesIO()
    Image.new("RGBA", (8000, 8000)).save(wide, "PNG", compress_level=1)
    yield "empty PNG of 64 MP", "image/png", wide.getvalue()
    tall = BytesIO()
    noise(4500, 4500).save(tall, "TIFF", compression="tiff_lzw")
    yield "LZW noise of 20 MP", "image/tiff", tall.getvalue()


async def _attack(server: Server, pack_id: str, calm: threading.Event) -> None:
    """Request new widths of one pack, twelve at a time, beside connections that send a byte a second."""
    limits = httpx.Limits(max_connections=None)

    async def ask(client: httpx.AsyncClient, number: int) -> None:
        width = number + 1
        while not calm.is_set():
            with suppress(httpx.TransportError):
                answer = await client.get(f"/api/v2/img/{pack_id}?width={width}")
                # A hostile client that ignores Retry-After.
                await asyncio.sleep(0.2 if answer.status_code == 503 else 0)
            width += WIDTHS

    async with httpx.AsyncClient(base_url=server.base, timeout=300, limits=limits) as client:
        slow = [asyncio.create_task(_trickle(server, number, calm)) for number in range(TRICKLING)]
        await asyncio.gather(*(ask(client, number) for number in range(WIDTHS)), *slow)


async def _trickle(server: Server, number: int, calm: threading.Event) -> None:
    beginnings = [
        HEADER + b"X-Slow: ",
        b"POST /live/token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n",
        f"POST /graphql HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n".encode(),
        b"",
    ]
    while not calm.is_set():
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(beginnings[number % len(beginnings)])
            while not calm.is_set() and not writer.is_closing():
                writer.write(b"a")
                await writer.drain()
                await asyncio.sleep(1)
            writer.close()
        await asyncio.sleep(0.1)


def _endless_headers() -> Iterator[bytes]:
    yield HEADER
    for _ in range(1000):
        yield b"X-Long: " + b"a" * 65_000 + b"\r\n"


def _empty_parts() -> Iterator[bytes]:
    yield (
        b"POST /uploads/default/aaaaaaaaaaaaaaaaaaaaaaaa HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: multipart/form-data; boundary=x\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    parts = b"--x\r\n\r\n\r\n" * 6000
    for _ in range(1000):
        yield b"%x\r\n%b\r\n" % (len(parts), parts)


async def _pour(server: Server, pieces: Iterator[bytes], connections: int = 8, seconds: float = 30) -> None:
    """Send the pieces on several connections, until the server closes them."""
    sent = list(pieces)

    async def pour() -> None:
        with suppress(OSError, asyncio.TimeoutError):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            async with asyncio.timeout(seconds):
                for piece in sent:
                    writer.write(piece)
                    await writer.drain()
                await reader.read()
            writer.close()

    await asyncio.gather(*(pour() for _ in range(connections)))


async def _guess(server: Server, seconds: int) -> None:
    end = time.monotonic() + seconds

    async def guess(client: httpx.AsyncClient, number: int) -> None:
        while time.monotonic() < end:
            secret = base64.b64encode(b"editor:wrong-%d" % number).decode()
            headers = {"Authorization": f"Basic {secret}"}
            with suppress(httpx.TransportError):
                await client.post("/graphql", json={"query": "{ viewer { subject } }"}, headers=headers)
            number += 60

    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=server.base, timeout=120, limits=limits) as client:
        await asyncio.gather(*(guess(client, number) for number in range(60)))


async def _subscribe(server: Server, pack_id: str) -> None:
    query = f'subscription {{ packChanged(id: "{pack_id}") {{ version locations {{ name variants {{ id url }} }} }} }}'
    opened = []

    async def read(socket: websockets.ClientConnection) -> None:
        with suppress(websockets.ConnectionClosed):
            async for _ in socket:
                pass

    address = server.base.replace("http", "ws") + "/graphql"
    tasks = []
    for _ in range(20):
        with suppress(OSError, websockets.WebSocketException):
            socket = await websockets.connect(address, subprotocols=[websockets.Subprotocol("graphql-transport-ws")])
            opened.append(socket)
            hello = {"type": "connection_init", "payload": {"authorization": f"Bearer {server.token}"}}
            await socket.send(json.dumps(hello))
            tasks.append(asyncio.create_task(read(socket)))
            for number in range(100):
                message = {"type": "subscribe", "id": str(number), "payload": {"query": query}}
                await socket.send(json.dumps(message))
    edit = f'mutation {{ updatePack(id: "{pack_id}", input: {{assetId: %d}}) {{ userErrors {{ code }} }} }}'
    for number in range(3):
        await asyncio.sleep(4)
        await asyncio.to_thread(server.ask, edit % (number + 1))
    await asyncio.sleep(8)
    for socket in opened:
        await socket.close()
    await asyncio.gather(*tasks)


def main() -> None:
    questions = ("renders", "headers", "multipart", "passwords", "websockets")
    arguments = argparse.ArgumentParser(prog="bench/hostile", description=__doc__)
    arguments.add_argument(
        "questions", nargs="*", metavar="|".join(questions), help="measurements to run (default: all)"
    )
    arguments.add_argument(
        "--seconds",
        type=int,
        default=60,
        help="seconds of each attack that does not end by itself (default %(default)s)",
    )
    arguments.add_argument("--print-only", action="store_true", help="do not change docs/benchmarks.md")
    chosen = arguments.parse_args()
    wanted = chosen.questions or list(questions)
    if unknown := set(wanted) - set(questions):
        arguments.error(f"unknown measurement: {', '.join(sorted(unknown))}")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(chosen.seconds, Path(folder))
        for question in wanted:
            for row in getattr(bench, question)():
                print(" | ".join(row), flush=True)
                rows.append(row)
    command = f"bench/hostile{''.join(f' {name}' for name in chosen.questions)} --seconds {chosen.seconds}"
    versions = (f"Pillow {PIL.__version__}", f"Starlette {version('starlette')}", f"uvicorn {version('uvicorn')}")
    text = f"""{circumstances(command, *versions)}

One process of `packshot serve` in its embedded form; attackers and other clients run on the same machine.

{table(["attack", "found", "bar"], rows)}"""
    publish("bench/hostile", text, write=not chosen.print_only)


if __name__ == "__main__":
    main()
