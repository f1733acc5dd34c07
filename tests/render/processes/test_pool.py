"""Render processes may die at any point; only the image that caused it is refused."""

import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from packshot.errors import ErrorCode, PackshotError, RenderTimeout, TooLarge, UnsupportedMedia
from packshot.geometry import Box, Size
from packshot.model import Format
from packshot.render import limits
from packshot.render.drawing.pipeline import Rendered, render_all
from packshot.render.drawing.probe import Facts
from packshot.render.formats.sniffing import ACCEPTED
from packshot.render.limits import Limits
from packshot.render.processes import child
from packshot.render.processes.lanes import Pulse
from packshot.render.processes.pool import Lane, LoadShare, Renderer, RendererClosed
from packshot.render.processes.process_slot import ProcessDied, ProcessSlot, render_context
from packshot.variants.plan import Drawing
from tests.render.processes.test_lanes import until
from tests.render.test_damage import WHOLE, mutated
from tests.support import pictures

PHOTO = pictures.jpeg(pictures.photo(90, 60))
NOISE = pictures.png(pictures.noise(90, 60))


def scaled(width: int, height: int, format: Format = Format.PNG) -> Drawing:
    size = Size(width, height)
    quality = None if format is Format.PNG else 60
    return Drawing(Box(0, 0, 90, 60), size, Box(0, 0, *size), format, quality, None)


SMALL = scaled(45, 30)
ENDLESS = scaled(8000, 8000, Format.AVIF)


# Process ids of renderers that other tests share.
others: set[int] = set()


def has_ended(pid: int) -> bool:
    return pid not in children()


def children() -> list[int]:
    pids = {process.pid for process in multiprocessing.active_children() if process.pid is not None}
    return sorted(pids - others)


@pytest.fixture(autouse=True)
def _overlook_others() -> None:
    others.clear()
    others.update(children())


class Stalled:
    """A render whose process waits for the bytes of its original, which come through a pipe."""

    def __init__(self, folder: Path, renderer: Renderer, drawings: int = 1) -> None:
        self._fifo = folder / f"original-{time.monotonic_ns()}"
        os.mkfifo(self._fifo)
        before = set(children())
        self._executor = ThreadPoolExecutor(1)
        self.result: Future[list[Rendered | PackshotError]] = self._executor.submit(
            renderer.render, self._fifo, [SMALL] * drawings, Lane.BULK
        )
        until(lambda: len(set(children()) - before) == 1)
        (self.pid,) = set(children()) - before
        # Opening returns when the process has opened its end, so it is reading now.
        self._end = os.open(self._fifo, os.O_WRONLY)

    def finish(self, data: bytes) -> None:
        os.write(self._end, data)
        os.close(self._end)

    def feed(self, data: bytes) -> None:
        with self._fifo.open("wb") as pipe:
            pipe.write(data)
        time.sleep(0.2)  # the reader must see the end before more data may come


@pytest.fixture
def renderer() -> Iterator[Renderer]:
    with Renderer(Limits(), processes=2) as renderer:
        yield renderer
    assert children() == []


def test_a_process_draws_the_same_bytes_as_the_pipeline(renderer: Renderer, tmp_path: Path) -> None:
    drawings = [scaled(45, 30, format) for format in Format]
    expected = list(render_all(PHOTO, drawings, Limits()))
    (tmp_path / "original").write_bytes(PHOTO)
    assert renderer.render(PHOTO, drawings, Lane.BULK) == expected
    assert renderer.render(tmp_path / "original", drawings, Lane.ON_DEMAND) == expected


def test_a_process_probes_bytes_and_files(renderer: Renderer, tmp_path: Path) -> None:
    (tmp_path / "original").write_bytes(PHOTO)
    assert renderer.probe(PHOTO) == renderer.probe(tmp_path / "original")
    assert renderer.probe(PHOTO).width == 90


def test_a_refusal_keeps_its_details_on_the_way_from_the_process(renderer: Renderer) -> None:
    with pytest.raises(UnsupportedMedia) as refusal:
        renderer.probe(b"%PDF-1.7")
    assert (refusal.value.expected, refusal.value.got) == (", ".join(ACCEPTED), "pdf")
    outside = Drawing(Box(9, 9, 90, 60), Size(9, 6), Box(0, 0, 9, 6), Format.PNG, None, None)
    good, bad = renderer.render(PHOTO, [SMALL, outside], Lane.BULK)
    assert isinstance(good, Rendered)
    assert isinstance(bad, PackshotError)
    assert (bad.code, bad.got) == (ErrorCode.UNRENDERABLE, "90 x 60 at 9, 9")


def test_too_many_bytes_never_reach_a_process(tmp_path: Path) -> None:
    (tmp_path / "original").write_bytes(bytes(101))
    with Renderer(Limits(max_bytes=100), processes=1) as renderer:
        for original in (bytes(101), tmp_path / "original"):
            with pytest.raises(TooLarge):
                renderer.probe(original)
            (outcome,) = renderer.render(original, [SMALL], Lane.BULK)
            assert isinstance(outcome, TooLarge)


def test_an_unreadable_file_is_not_a_refusal(renderer: Renderer, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        renderer.render(tmp_path / "nothing", [SMALL], Lane.BULK)
    with pytest.raises(FileNotFoundError):
        renderer.probe(tmp_path / "nothing")


def test_render_processes_survive_damaged_files(renderer: Renderer) -> None:
    for seed, data in enumerate(WHOLE.values()):
        (outcome,) = renderer.render(mutated(data, 1000 + seed), [SMALL], Lane.BULK)
        assert isinstance(outcome, Rendered | PackshotError)


def test_only_the_drawing_that_takes_too_long_is_refused() -> None:
    with Renderer(Limits(seconds=1.5), processes=1) as renderer:
        first, endless, last = renderer.render(NOISE, [SMALL, ENDLESS, SMALL], Lane.BULK)
        assert isinstance(first, Rendered)
        assert first == last
        assert isinstance(endless, PackshotError)
        assert (endless.code, endless.expected) == (ErrorCode.RENDER_TIMEOUT, "at most 1.5 seconds")
        assert renderer.render(NOISE, [SMALL], Lane.BULK) == [first]


def test_an_original_that_takes_too_long_to_decode_is_refused_for_all() -> None:
    large = pictures.png(pictures.noise(2000, 1500))
    with Renderer(Limits(seconds=0.001), processes=1) as renderer:
        outcomes = renderer.render(large, [SMALL] * 50, Lane.BULK)
        assert [type(outcome).__name__ for outcome in outcomes] == ["RenderTimeout"] * 50
        with pytest.raises(PackshotError) as refusal:
            renderer.probe(large)
        assert refusal.value.code is ErrorCode.RENDER_TIMEOUT


def test_the_time_limit_of_an_animation_grows_with_its_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    wound: list[float] = []
    monkeypatch.setattr(child, "_limit_time", wound.append)
    monkeypatch.setattr(limits, "ANIMATED_PIXELS", 1000)

    def drawing(width: int, height: int, format: Format) -> Drawing:
        return Drawing(Box(0, 0, 64, 48), Size(width, height), Box(0, 0, width, height), format, None, None)

    moving = pictures.animated("GIF", 5)
    small, large, still = drawing(32, 24, Format.WEBP), drawing(128, 96, Format.GIF), drawing(128, 96, Format.PNG)
    outcomes = child.draw(moving, [small, large, still], Limits(seconds=2.0))
    assert [type(outcome) for outcome in outcomes] == [Rendered] * 3
    frame, enlarged = 64 * 48, 128 * 96
    assert wound == pytest.approx([2, 2 * 5 * frame / 1000, 2 * 5 * enlarged / 1000, 2, 0])


def test_the_parent_waits_as_long_as_the_largest_animation_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    patience: list[float] = []

    def run(process_slot: ProcessSlot, job: object, seconds: float, *others: object) -> list[Rendered]:
        patience.append(seconds)
        return []

    monkeypatch.setattr(ProcessSlot, "run", run)
    with Renderer(Limits(seconds=20.0, max_frames_pixels=100_000_000), processes=1) as renderer:
        renderer.render(PHOTO, [SMALL], Lane.BULK)
        renderer.render(PHOTO, [scaled(45, 30, Format.WEBP), scaled(45, 30, Format.GIF)], Lane.BULK)
    still, moving = patience
    assert 2 * 20 <= still < 100
    assert moving >= 20 + 2 * 100


@pytest.mark.parametrize(
    ("watched", "kind"),
    [
        pytest.param(
            False,
            "address space",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds a process's address space"),
        ),
        (True, "resident memory"),
    ],
)
def test_only_the_drawing_that_takes_too_much_memory_is_refused(watched: bool, kind: str) -> None:
    limit = 300 * 2**20
    with Renderer(Limits(memory_bytes=limit, watched=watched), processes=1) as renderer:
        first, huge, last = renderer.render(NOISE, [SMALL, scaled(8900, 8900), SMALL], Lane.BULK)
        assert isinstance(first, Rendered)
        assert first == last
        assert isinstance(huge, PackshotError)
        assert (huge.code, huge.expected) == (ErrorCode.UNRENDERABLE, f"at most {limit} bytes of {kind}")
        assert "memory" in huge.message
        assert renderer.render(NOISE, [SMALL], Lane.BULK) == [first]


def test_the_largest_original_can_use_every_feature_by_default() -> None:
    # 80 megapixels of one colour are a small file.
    size = Size(10_000, 8_000)
    row = b"\0" + bytes((200, 100, 50, 128)) * size.width
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", *size, 8, 6, 0, 0, 0)),
        (b"iCCP", b"P3\0\0" + zlib.compress(pictures.display_p3())),
        (b"eXIf", pictures.exif(6)[6:]),
        (b"IDAT", zlib.compress(row * size.height, 1)),
        (b"IEND", b""),
    ]
    original = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    upright, small = Box(0, 0, 8_000, 10_000), Size(400, 500)
    drawing = Drawing(upright, small, Box(0, 0, *small), Format.WEBP, 80, None, smart=True, blur=2.0, corner=20)
    with Renderer(Limits(seconds=100), processes=1) as renderer:
        facts = renderer.probe(original)
        assert (facts.width, facts.height, facts.alpha) == (8_000, 10_000, True)
        (outcome,) = renderer.render(original, [drawing], Lane.BULK)
    assert isinstance(outcome, Rendered)


def test_an_original_whose_process_is_killed_is_refused(renderer: Renderer, tmp_path: Path) -> None:
    stalled = Stalled(tmp_path, renderer)
    os.kill(stalled.pid, signal.SIGKILL)
    (outcome,) = stalled.result.result(30)
    assert isinstance(outcome, PackshotError)
    assert (outcome.code, outcome.got) == (ErrorCode.UNRENDERABLE, "signal SIGKILL")
    assert isinstance(renderer.render(PHOTO, [SMALL], Lane.BULK)[0], Rendered)


def test_a_batch_whose_process_is_killed_once_is_complete(renderer: Renderer, tmp_path: Path) -> None:
    stalled = Stalled(tmp_path, renderer, drawings=2)
    os.kill(stalled.pid, signal.SIGKILL)
    stalled.finish(b"")
    until(lambda: not alive(stalled.pid))
    # It is read three more times: for decoding alone, then for each drawing.
    for _ in range(3):
        stalled.feed(PHOTO)
    outcomes = stalled.result.result(30)
    assert [type(outcome).__name__ for outcome in outcomes] == ["Rendered", "Rendered"]


def test_a_render_whose_process_is_ended_from_outside_is_repeated(renderer: Renderer, tmp_path: Path) -> None:
    stalled = Stalled(tmp_path, renderer)
    os.kill(stalled.pid, signal.SIGTERM)
    stalled.finish(b"")
    until(lambda: not alive(stalled.pid))
    stalled.feed(PHOTO)
    assert [type(outcome) for outcome in stalled.result.result(30)] == [Rendered]


def test_closing_ends_a_render_with_an_outage(tmp_path: Path) -> None:
    renderer = Renderer(Limits(), processes=2)
    stalled = Stalled(tmp_path, renderer)
    renderer.close()
    with pytest.raises(RendererClosed):
        stalled.result.result(30)
    with pytest.raises(RendererClosed):
        renderer.probe(PHOTO)
    assert children() == []


def test_a_process_killed_while_idle_is_replaced(renderer: Renderer) -> None:
    (expected,) = renderer.render(PHOTO, [SMALL], Lane.BULK)
    for _ in range(2):
        (pid,) = children()
        os.kill(pid, signal.SIGKILL)
        until(partial(has_ended, pid))
        assert renderer.render(PHOTO, [SMALL], Lane.BULK) == [expected]


def test_a_process_that_does_not_begin_is_replaced_without_blaming_the_original(
    renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    (expected,) = renderer.render(PHOTO, [SMALL], Lane.BULK)
    (pid,) = children()
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr("packshot.render.processes.process_slot.BEGIN_SECONDS", 5.0)
    assert renderer.render(PHOTO, [SMALL], Lane.BULK) == [expected]
    assert pid not in children()


def test_ctrl_c_in_the_terminal_does_not_reach_the_processes(renderer: Renderer, tmp_path: Path) -> None:
    stalled = Stalled(tmp_path, renderer)
    os.kill(stalled.pid, signal.SIGINT)
    stalled.finish(PHOTO)
    assert isinstance(stalled.result.result(30)[0], Rendered)


@pytest.mark.parametrize(
    ("end", "argument", "exitcode"),
    [
        (signal.raise_signal, signal.SIGSEGV, -signal.SIGSEGV),
        (signal.raise_signal, signal.SIGABRT, -6),
        (os._exit, 3, 3),
    ],
)
def test_a_crash_is_distinguished_from_an_answer(end: Callable[[int], object], argument: int, exitcode: int) -> None:
    process_slot = ProcessSlot(render_context(), Limits())
    try:
        with pytest.raises(ProcessDied) as death:
            process_slot.run(end, 30.0, Pulse(), argument)
        assert death.value.exitcode == exitcode
        assert process_slot.run(abs, 30.0, Pulse(), -1) == 1
    finally:
        process_slot.close()


def test_the_parent_ends_a_process_that_hangs_outside_its_time_limit() -> None:
    process_slot = ProcessSlot(render_context(), Limits())
    try:
        with pytest.raises(ProcessDied) as death:
            process_slot.run(time.sleep, 0.5, Pulse(), 600)
        assert death.value.exitcode is None
        assert process_slot.run(abs, 30.0, Pulse(), -1) == 1
    finally:
        process_slot.close()


def test_a_heartbeat_runs_during_a_render_and_its_error_ends_the_render(renderer: Renderer) -> None:
    beats: list[int] = []

    def beat() -> None:
        beats.append(1)
        if len(beats) == 3:
            raise KeyError("the lease is gone")

    with pytest.raises(KeyError):
        renderer.render(NOISE, [ENDLESS], Lane.BULK, heartbeat=beat, heartbeat_seconds=0.1)
    assert len(beats) == 3
    assert children() == []
    assert isinstance(renderer.render(NOISE, [SMALL], Lane.BULK)[0], Rendered)


def test_many_threads_share_few_processes(renderer: Renderer) -> None:
    expected = renderer.render(PHOTO, [SMALL], Lane.BULK)
    with ThreadPoolExecutor(12) as threads:
        lanes = [Lane(number % 3) for number in range(60)]
        assert list(threads.map(lambda lane: renderer.render(PHOTO, [SMALL], lane), lanes)) == [expected] * 60
    assert len(children()) <= 2


NOISY = """
import sys
from packshot.errors import PackshotError
from packshot.render.processes.lanes import Pulse
from packshot.render.limits import Limits
from packshot.render.processes.pool import Renderer
from packshot.render.processes.process_slot import ProcessSlot, render_context

if __name__ == "__main__":
    with Renderer(Limits(), processes=1) as renderer:
        try:
            renderer.probe(sys.stdin.buffer.read())
        except PackshotError:
            print("refused")
    process_slot = ProcessSlot(render_context(), Limits())
    process_slot.run(exec, 30.0, Pulse(), "import sys; print('from Python', file=sys.stderr)")
    process_slot.close()
"""


def test_messages_of_codecs_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "noisy.py").write_text(NOISY)
    hostile = bytearray(pictures.tiff(pictures.photo(90, 60), compression="tiff_lzw"))
    hostile[60:2000] = b"\xff" * 1940
    done = subprocess.run(
        [sys.executable, tmp_path / "noisy.py"],
        input=bytes(hostile),
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in [os.getcwd(), *sys.path] if path)},
    )
    assert (done.stdout, done.stderr) == (b"refused\n", b"from Python\n")


PARENT = """
import multiprocessing, sys, threading
from multiprocessing import forkserver
from pathlib import Path
from packshot.render.limits import Limits
from packshot.render.processes.pool import Lane, Renderer
from tests.render.processes.test_pool import ENDLESS, NOISE, SMALL, children

if __name__ == "__main__":
    renderer = Renderer(Limits(seconds=0), processes=3)
    renderer.render(NOISE, [SMALL], Lane.BULK)
    threading.Thread(target=renderer.render, args=(NOISE, [ENDLESS], Lane.BULK)).start()
    threading.Thread(target=renderer.render, args=(Path(sys.argv[1]), [SMALL], Lane.INTERACTIVE)).start()
    while len(children()) < 2:
        pass
    print(*children(), forkserver._forkserver._forkserver_pid or "", flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_process_outlives_a_killed_parent(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    os.mkfifo(tmp_path / "original")
    with subprocess.Popen(
        [sys.executable, tmp_path / "parent.py", tmp_path / "original"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in [os.getcwd(), *sys.path] if path)},
    ) as parent:
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert len(pids) >= 3
        assert all(alive(pid) for pid in pids)
        time.sleep(0.5)  # by now, one is inside a codec, and one waits for a file
        parent.kill()
    until(lambda: not any(alive(pid) for pid in pids), seconds=15)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_waiting_renders_of_an_undecodable_original_are_refused_at_once(tmp_path: Path) -> None:
    share, asked_at = LoadShare("default", "1" * 64), time.monotonic()
    with Renderer(Limits(seconds=0.0002), processes=1) as renderer:
        (refused,) = renderer.render(NOISE, [SMALL], Lane.ON_DEMAND, share=share)
        assert isinstance(refused, RenderTimeout)
        assert refused.undecodable
        found = renderer._failures.find(share.original, asked_at)
        assert (type(found), str(found)) == (RenderTimeout, str(refused))
        # Later calls try again, unless the catalog knows the failure.
        assert renderer._failures.find(share.original, time.monotonic()) is None
        with pytest.raises(FileNotFoundError):
            renderer.render(tmp_path / "missing", [SMALL], Lane.ON_DEMAND, share=share)


def test_a_drawing_that_takes_too_long_does_not_make_its_original_undecodable() -> None:
    share = LoadShare("default", "1" * 64)
    with Renderer(Limits(seconds=0.5), processes=1) as renderer:
        (refused,) = renderer.render(NOISE, [ENDLESS], Lane.ON_DEMAND, share=share)
        assert isinstance(refused, RenderTimeout)
        assert not refused.undecodable
        assert isinstance(renderer.render(NOISE, [SMALL], Lane.ON_DEMAND, share=share)[0], Rendered)


def test_a_new_original_has_less_time_than_a_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    wound: list[float] = []
    monkeypatch.setattr(child, "_limit_cpu", wound.append)
    assert isinstance(child.look(PHOTO, Limits(seconds=20.0)), Facts)
    # Before decoding, before decoding at half size, before measuring the colours, and at the end.
    assert wound == [5.0, 5.0, 5.0, 0]
    wound.clear()
    monkeypatch.setattr(limits, "ANIMATED_PIXELS", 1000)
    child.look(pictures.animated("GIF", 5), Limits(seconds=20.0))
    assert wound == pytest.approx([5.0, 5.0 * 5 * 64 * 48 / 1000, 5.0, 0])


def test_a_new_original_that_takes_too_long_is_refused() -> None:
    # Decoding 40 megapixels of one colour takes more than 25 ms on any machine.
    large = pictures.png(Image.new("L", (8000, 5000)))
    with Renderer(Limits(seconds=0.1), processes=1) as renderer, pytest.raises(RenderTimeout):
        renderer.probe(large)
