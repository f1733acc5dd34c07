"""A render process that a hostile image has taken over finds no secrets, no network and almost no files."""

import io
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from pebble.common.types import RemoteException, Result, ResultStatus
from pebble.pool.process import Acknowledgement, TaskProblem, TaskResult

from packshot.errors import TooLarge, Unrenderable
from packshot.render.drawing.probe import Facts
from packshot.render.limits import Limits
from packshot.render.processes.answers import _NAMES, ForbiddenAnswer, read_answer
from packshot.render.processes.confine import EVERYTHING, MAX_OPEN_FILES
from packshot.render.processes.lanes import Lane, Pulse
from packshot.render.processes.pool import Rendered, Renderer
from packshot.render.processes.process_slot import ProcessDied
from tests.render.processes.test_pool import PHOTO, SMALL
from tests.support import pictures

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux confines processes so far")

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("originals")


@pytest.fixture(scope="module")
def confined(folder: Path) -> Iterator[Renderer]:
    with Renderer(Limits(), processes=1, folders=[folder]) as renderer:
        if "files" not in renderer.confinement():
            pytest.skip("this kernel has no Landlock")
        yield renderer


@pytest.fixture
def run(confined: Renderer) -> Run:
    """Run a function of the standard library in the render process, as an intruder's code would."""
    return lambda job, *args: confined._process_slots[0].run(job, 30.0, Pulse(), *args)


def test_all_confinement_is_in_force_here(confined: Renderer) -> None:
    assert confined.confinement() == EVERYTHING


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_UNIX])
def test_a_render_process_cannot_open_sockets(run: Run, family: int, kind: int) -> None:
    with pytest.raises(PermissionError):
        run(socket.socket, family, kind)
    with pytest.raises(PermissionError):
        run(socket.socketpair)


def test_a_render_process_cannot_start_or_signal_processes(run: Run) -> None:
    with pytest.raises(PermissionError):
        run(os.fork)
    with pytest.raises(PermissionError):
        run(os.execv, sys.executable, [sys.executable, "-c", ""])
    with pytest.raises(PermissionError):
        run(os.kill, os.getpid(), signal.SIGTERM)


def test_a_render_process_can_read_only_originals(run: Run, folder: Path, tmp_path: Path) -> None:
    database = tmp_path / "packshot.db"
    database.write_bytes(b"secrets")
    (folder / "original").write_bytes(PHOTO)
    assert run(Path.read_bytes, folder / "original") == PHOTO
    for path in (database, Path("/etc/passwd"), Path("/proc/self/environ"), Path(f"/proc/{os.getpid()}/environ")):
        with pytest.raises(PermissionError):
            run(Path.read_bytes, path)


def test_a_render_process_cannot_write_files(run: Run, folder: Path, tmp_path: Path) -> None:
    original = folder / "kept"
    original.write_bytes(PHOTO)
    for path in (folder / "new", tmp_path / "new", original):
        with pytest.raises(PermissionError):
            run(Path.write_bytes, path, b"x")
    for change in (os.unlink, os.rmdir):
        with pytest.raises(PermissionError):
            run(change, original)
    with pytest.raises(PermissionError):
        run(os.rename, original, folder / "moved")
    with pytest.raises(PermissionError):
        run(os.truncate, original, 0)
    assert original.read_bytes() == PHOTO


def test_a_render_process_has_few_open_files(run: Run) -> None:
    pid = run(os.getpid)
    opened = [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]
    assert not [name for name in opened if name.startswith("socket:")]
    assert not [name for name in opened if ".db" in name]
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert f"Max open files            {MAX_OPEN_FILES}  " in limits
    assert "Max file size             0  " in limits
    assert "Max core file size        0  " in limits


def test_a_render_process_has_no_privileges_and_gains_none(run: Run) -> None:
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{run(os.getpid)}/status").read_text().splitlines())
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) & ~4 == 0
    assert int(status["CapPrm"], 16) & ~4 == 0
    assert status["Seccomp"] == "2"


class Intruder:
    """Pickled as a function call that the reader executes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_answers_cannot_run_code_in_the_application(tmp_path: Path) -> None:
    with Renderer(Limits(), processes=1) as renderer:
        with pytest.raises(ProcessDied):
            renderer._process_slots[0].run(Intruder, 30.0, Pulse(), tmp_path / "made")
        assert not (tmp_path / "made").exists()
        assert isinstance(renderer.render(PHOTO, [SMALL], Lane.BULK)[0], Rendered)
    with pytest.raises(ForbiddenAnswer):
        read_answer(pickle.dumps(Intruder(tmp_path / "made")))
    assert read_answer(pickle.dumps(FileNotFoundError(2, "No such file"))).errno == 2


class OldPickler(pickle.Pickler):
    """Pickles enumeration members as Python 3.11.2 does."""

    def reducer_override(self, value: Any) -> Any:
        return (getattr, (type(value), value.name)) if isinstance(value, Enum) else NotImplemented


def old_dumps(value: object, protocol: int) -> bytes:
    written = io.BytesIO()
    OldPickler(written, protocol).dump(value)
    return written.getvalue()


ANSWERS = [
    TaskResult(1, Result(ResultStatus.SUCCESS, [Rendered(b"x", 1, 2, 0.5, 0.25)])),
    TaskResult(2, Result(ResultStatus.SUCCESS, Facts(1, 2, "jpeg", False, 1, None, "#aabbcc", 80))),
    TaskResult(3, Result(ResultStatus.SUCCESS, TooLarge("Too large.", expected="1", got="2"))),
    TaskResult(4, Result(ResultStatus.FAILURE, RemoteException(FileNotFoundError(2, "No such file"), "trace"))),  # type: ignore[no-untyped-call]
    TaskResult(5, Result(ResultStatus.SUCCESS, ("files",))),
    TaskProblem(6, pickle.PicklingError("cannot be pickled")),
    Acknowledgement(8, 7),
]


# No supported Python uses an older protocol by default.
@pytest.mark.parametrize("protocol", range(4, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("dumps", [pickle.dumps, old_dumps], ids=["this Python", "Python 3.11.2"])
@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: str(answer.task))
def test_genuine_answers_are_read_in_every_pickle_form(
    answer: Any, dumps: Callable[[object, int], bytes], protocol: int
) -> None:
    read = read_answer(dumps(answer, protocol))
    assert type(read) is type(answer)
    assert read.task == answer.task
    if isinstance(answer, TaskProblem):
        assert str(read.error) == str(answer.error)
    if isinstance(answer, TaskResult):
        assert read.result.status is answer.result.status
        assert str(read.result.value) == str(getattr(answer.result.value, "exception", answer.result.value))


class Attribute:
    """Pickled as an attribute of an object that is not an enumeration, or as a missing member."""

    def __init__(self, owner: object, name: str) -> None:
        self.owner, self.name = owner, name

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, (self.owner, self.name)


@pytest.mark.parametrize(
    ("owner", "name"), [(ResultStatus, "__init__"), (ResultStatus, "mro"), (OSError, "__init__"), ("", "format")]
)
def test_an_answer_can_access_only_members_of_enumerations(owner: object, name: str) -> None:
    with pytest.raises(ForbiddenAnswer):
        read_answer(pickle.dumps(Attribute(owner, name)))


def test_a_refused_answer_is_logged_with_its_class_and_does_not_blame_the_original(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        "packshot.render.processes.answers._NAMES", _NAMES - {("packshot.render.drawing.probe", "Facts")}
    )
    with (
        Renderer(Limits(), processes=1) as renderer,
        caplog.at_level(logging.ERROR),
        pytest.raises(Unrenderable, match=r"answer .* was refused"),
    ):
        renderer.probe(PHOTO)
    assert "packshot.render.drawing.probe.Facts" in caplog.text


def test_the_parent_reads_originals_outside_the_folders(confined: Renderer, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(PHOTO)
    assert confined.probe(path).width == 90
    (drawn,) = confined.render(path, [SMALL], Lane.BULK)
    assert isinstance(drawn, Rendered)
    with Renderer(Limits(max_bytes=10), processes=1, folders=[]) as renderer, pytest.raises(TooLarge):
        renderer.probe(path)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp", "avif", "gif", "tiff", "bmp", "heic"])
def test_a_confined_process_decodes_every_format(confined: Renderer, folder: Path, name: str) -> None:
    (folder / name).write_bytes(getattr(pictures, name)(pictures.photo(90, 60)))
    assert confined.probe(folder / name).format == name


_ENVIRONMENTS = """
import os
from pathlib import Path
from packshot.render.limits import Limits
from packshot.render.processes.lanes import Pulse
from packshot.render.processes.pool import Renderer

if __name__ == "__main__":
    with Renderer(Limits(), processes=1) as renderer:
        renderer.confinement()
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and entry.name != str(os.getpid()):
                try:
                    status = dict(line.split(":", 1) for line in (entry / "status").read_text().splitlines())
                    command = (entry / "cmdline").read_bytes()
                    environ = (entry / "environ").read_bytes()
                except OSError:
                    continue
                if b"multiprocessing" in command and os.getpgid(int(entry.name)) == os.getpgid(0):
                    print(environ.replace(b"\\0", b"\\n").decode(), "--", sep="")
"""


def test_render_processes_have_no_secrets_in_their_environment(tmp_path: Path) -> None:
    script = tmp_path / "environments.py"
    script.write_text(_ENVIRONMENTS)
    secrets = {"PACKSHOT_ADMIN_TOKEN": "sesame-1", "AWS_SECRET_ACCESS_KEY": "sesame-2", "PGPASSWORD": "sesame-3"}
    environ = os.environ | secrets | {"PYTHONPATH": os.getcwd()}
    answer = subprocess.run(
        [sys.executable, str(script)], env=environ, capture_output=True, text=True, check=True, start_new_session=True
    )
    environments = answer.stdout.split("--\n")[:-1]
    # The fork server, the resource tracker and the render process.
    assert len(environments) == 3
    assert all("PATH=" in one for one in environments)
    assert "sesame" not in answer.stdout
