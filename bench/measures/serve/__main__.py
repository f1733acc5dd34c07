"""Runs the measurements, and writes a section of docs/benchmarks.md."""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx2 as httpx
import PIL

from bench.measures.report import circumstances, publish, table
from bench.measures.serve import peers
from bench.measures.serve.load import hammer, open_loop, storm
from tests.servers.ports import free_port
from tests.support.pictures import jpeg, photo
from tests.support.server import Server, serving

CONNECTIONS = 16
COLD_CONNECTIONS = 8
ORIGINALS = 8
Row = list[str]


class Bench:
    """One run: the original, the seconds of a round, and the folder where peers are installed."""

    def __init__(self, original: bytes, seconds: int, scratch: Path, folder: Path) -> None:
        self.original, self.seconds, self.scratch, self.folder = original, seconds, scratch, folder
        self._count = 0

    @contextmanager
    def served(self, **settings: str) -> Iterator[tuple[Server, str]]:
        """Run Packshot in a new data folder, with one rendered pack."""
        self._count += 1
        with serving(self.folder / f"data-{self._count}", ready=200, **settings) as server:
            server.put_location("card", 640, 360)
            pack_id, job_id = server.pack_showing(self.original)
            server.wait_for_job(job_id)
            yield server, pack_id

    def warm(self) -> Iterator[Row]:
        """A stored variant through the application, beside a response of the same size from memory."""
        with self.served() as (server, pack_id):
            stable = f"/api/v2/img/{pack_id}?location=card&format=jpeg"
            answer = server.client.get(stable)
            body = self.folder / "body.jpg"
            body.write_bytes(answer.content)
            with peers.bare_starlette(body) as base:
                bare = _best(lambda: hammer(base + "/i/a", connections=CONNECTIONS, seconds=self.seconds).per_second)
                ours = _best(lambda: self._rate(server.base + answer.headers["content-location"]))
                resolved = _best(lambda: self._rate(server.base + stable))
        size = f"{len(answer.content) / 1000:.0f} kB"
        yield [f"warm, immutable URL, {size}, requests/s beside bare Starlette", *_ratio(ours, bare, 0.5)]
        yield [f"warm, stable URL, {size}, the same", *_ratio(resolved, bare, None)]

    def nginx(self) -> Iterator[Row]:
        """The same with nginx in front, beside nginx with the plain file."""
        with self.served(PACKSHOT_TRUSTED_PROXIES="127.0.0.1") as (server, pack_id):
            stable = f"/api/v2/img/{pack_id}?location=card&format=jpeg"
            key = server.client.head(stable).headers["content-location"]
            files = self.folder / "files"
            files.mkdir(exist_ok=True)
            blob = server.data / "variants" / key.removeprefix("/i/")
            (files / "picture.jpg").write_bytes(blob.read_bytes())
            port, plain = free_port(), free_port()
            values = {"LISTEN": port, "UPSTREAM": f"127.0.0.1:{server.port}", "DATA": server.data.resolve()}
            conf = peers.packshot_conf(values)
            conf += f"\nserver {{ listen {plain}; sendfile on; tcp_nopush on; root {files}; }}"
            with peers.nginx(self.folder / "nginx", conf, stable, port) as base:
                direct = _best(lambda: self._rate(f"http://127.0.0.1:{plain}/picture.jpg"))
                immutable = _best(lambda: self._rate(base + key))
        yield ["warm, immutable URL through nginx, beside nginx with the file", *_ratio(immutable, direct, 0.9)]

    def _rate(self, url: str) -> float:
        seen = hammer(url, connections=CONNECTIONS, seconds=self.seconds)
        if seen.failed:
            raise RuntimeError(f"{seen.failed} requests for {url} failed")
        return seen.per_second

    def cold(self) -> Iterator[Row]:
        """Sizes that were not requested before, beside peers that always render on demand."""
        photos = self.folder / "photos"
        photos.mkdir(exist_ok=True)
        # Each original is as much work as the first, but has other bytes, so no cache knows it.
        originals = [_commented(self.original, f"number {number}") for number in range(ORIGINALS)]
        for number, original in enumerate(originals):
            (photos / f"{number}.jpg").write_bytes(original)
        for format in ("jpeg", "webp"):
            for count, of in ((1, "of one original"), (ORIGINALS, f"of {ORIGINALS} originals in turn")):
                with self.served(PACKSHOT_RENDER_QUEUE_SECONDS="60") as (server, _):
                    packs = [self._pack(server, original) for original in originals[:count]]
                    given = [f"/api/v2/img/{pack_id}?quality=80&format={format}&width=WIDTH" for pack_id in packs]
                    ours = self._cold(server.base, given)
                with peers.ipx(self.scratch, photos, "/w_99/0.jpg") as base:
                    given = [f"/f_{format},q_80,w_WIDTH/{number}.jpg" for number in range(count)]
                    theirs = None if base is None else self._cold(base, given)
                with peers.thumbor(self.scratch, photos, "/unsafe/99x0/0.jpg") as base:
                    filters = f"filters:quality(80):format({format})"
                    others = self._cold(base, [f"/unsafe/WIDTHx0/{filters}/{number}.jpg" for number in range(count)])
                what = f"cold, distinct widths {of}, {format.upper()} q80"
                if theirs is not None:
                    yield [f"{what}, renders/s beside ipx", *_ratio(ours, theirs, 1.0)]
                yield [f"{what}, beside thumbor", *_ratio(ours, others, 1.5)]

    def _pack(self, server: Server, original: bytes) -> str:
        pack_id, job_id = server.pack_showing(original)
        server.wait_for_job(job_id)
        return pack_id

    def _cold(self, base: str, given: list[str]) -> float:
        # Each width once, in a random order, which favours no cache.
        widths = random.Random(1).sample(range(200, 1400), 1200)  # noqa: S311
        paths = [given[n % len(given)].replace("WIDTH", str(width)) for n, width in enumerate(widths)]
        script = self.folder / "cold.lua"
        script.write_text(
            f"local paths = {{{', '.join(map(repr, paths))}}}\nlocal n = 0\n"
            f"request = function() n = n + 1; if n > #paths then os.exit(3) end\n"
            f'  return wrk.format("GET", paths[n]) end\n'
        )
        httpx.get(base + given[0].replace("WIDTH", "150"), timeout=60).raise_for_status()
        seen = hammer(base, connections=COLD_CONNECTIONS, seconds=2 * self.seconds, script=script)
        if seen.failed:
            raise RuntimeError(f"{seen.failed} cold requests at {base} failed")
        return seen.per_second

    def flood(self) -> Iterator[Row]:
        """Five hundred clients request one variant that is missing."""
        with self.served() as (server, pack_id):
            answers = storm(server.base, [f"/api/v2/img/{pack_id}?location=card&width=613&format=webp"] * 500)
            time.sleep(6)  # Until the counts of on-demand requests are written.
            counted = server.ask('{ location(name: "card") { demand { requests } } }')["location"]["demand"]
        renders = sum(one["requests"] for one in counted)
        found = f"{renders} render, {answers.statuses()}, {len(answers.bodies)} kind of bytes, slowest"
        yield ["500 clients on one cold variant", f"{found} {answers.slowest(200):.2f} s", "1 render, 500 x 200"]

    def purge(self) -> Iterator[Row]:
        """A whole location is purged, and all its images are requested again."""
        with self.served() as (server, _):
            small = jpeg(photo(320, 240))
            made = [server.pack_showing(small) for _ in range(1000)]
            for _, job_id in made:
                server.wait_for_job(job_id, 600)
            answers = storm(server.base, [f"/api/v2/img/{pack_id}?location=card&format=jpeg" for pack_id, _ in made])
        found = f"{answers.statuses()}, half within {answers.slowest(200, 0.5):.2f} s, all {answers.slowest(200):.2f} s"
        yield ["1,000 stable URLs requested at once", found, "no 5xx"]

    def overload(self) -> Iterator[Row]:
        """Four times as many cold renders as the machine can do."""
        with self.served() as (server, pack_id):
            path = f"/api/v2/img/{pack_id}?format=avif&height=900&width="
            script = self.folder / "capacity.lua"
            script.write_text(
                f'local n = 900\nrequest = function() n = n + 1\n  return wrk.format("GET", "{path}" .. n) end\n'
            )
            capacity = hammer(server.base, connections=4, seconds=self.seconds, script=script).per_second
            wanted = int(4 * capacity * 3 * self.seconds)
            answers = open_loop(
                server.base, [f"{path}{400 + n % 500}&quality={1 + n // 500}" for n in range(wanted)], 4 * capacity
            )
        statuses = answers.statuses().replace(" x 0", " x health")
        found = (
            f"{capacity:.1f} renders/s requested at {4 * capacity:.0f}/s: {statuses};"
            f" 503 within {answers.slowest(503, 0.99) * 1000:.0f} ms (99 %), {answers.slowest(503) * 1000:.0f} (all);"
            f" health within {answers.slowest(0, 0.99) * 1000:.0f}, {answers.slowest(0) * 1000:.0f} ms;"
            f" 200 within {answers.slowest(200):.1f} s"
        )
        yield [
            "overload: AVIFs of 0.4 to 0.8 megapixels at four times capacity",
            found,
            "503 < 100 ms, health < 200 ms",
        ]


def _commented(jpeg: bytes, text: str) -> bytes:
    """Return a JPEG with a comment after its first marker."""
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2) + text.encode() + jpeg[2:]


def _best(measure: Callable[[], float], rounds: int = 3) -> float:
    """Return the best of some rounds, because other work of the machine can only slow a round down."""
    return max(measure() for _ in range(rounds))


def _ratio(ours: float, theirs: float, bar: float | None) -> Row:
    return [f"{ours / theirs:.2f} ({ours:,.0f} / {theirs:,.0f})", "" if bar is None else f">= {bar:.2f}"]


def main() -> None:
    questions = ("warm", "nginx", "cold", "flood", "purge", "overload")
    arguments = argparse.ArgumentParser(prog="bench/serve", description=__doc__)
    arguments.add_argument(
        "questions", nargs="*", metavar="|".join(questions), help="measurements to run (default: all)"
    )
    arguments.add_argument("--photo", type=Path, help="the original; default: a drawn one")
    arguments.add_argument("--seconds", type=int, default=6, help="seconds of each round (default %(default)s)")
    arguments.add_argument(
        "--scratch",
        type=Path,
        default=Path(tempfile.gettempdir()) / "packshot-bench-serve",
        help="folder where peers are installed (default %(default)s)",
    )
    arguments.add_argument("--print-only", action="store_true", help="do not change docs/benchmarks.md")
    chosen = arguments.parse_args()
    wanted = chosen.questions or list(questions)
    if unknown := set(wanted) - set(questions):
        arguments.error(f"unknown measurement: {', '.join(sorted(unknown))}")
    original = chosen.photo.read_bytes() if chosen.photo else jpeg(photo(4000, 3000))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(original, chosen.seconds, chosen.scratch, Path(folder))
        for question in wanted:
            for row in getattr(bench, question)():
                print(" | ".join(row), flush=True)
                rows.append(row)
    shown = f" --photo {chosen.photo.name}" if chosen.photo else ""
    command = f"bench/serve{''.join(f' {name}' for name in chosen.questions)} --seconds {chosen.seconds}{shown}"
    versions = (f"Pillow {PIL.__version__}", f"Starlette {version('starlette')}", f"uvicorn {version('uvicorn')}")
    text = f"""{circumstances(command, *versions)}

One process of `packshot serve` in its embedded form, everything on one machine, wrk beside. Ratios are ours / theirs,
both in brackets, each the best of three rounds; cold renders are of one round.

{table(["question", "found", "bar"], rows)}"""
    publish("bench/serve", text, write=not chosen.print_only)


main()
