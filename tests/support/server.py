"""`packshot serve` as a real process, and a small client of it."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import httpx2 as httpx

from tests.servers.ports import free_port
from tests.support.admin import Admin, wait_for

TOKEN = "process-test-token-0123456789"
PATIENCE = 60.0
PROGRAM = "from serve.cli import main; main()"


class Server(Admin):
    """`packshot serve` on a free port, over one data folder."""

    def __init__(self, data: Path, ready: int, settings: dict[str, str], program: str = PROGRAM) -> None:
        self.data = data
        self._program = program
        self.settings = settings
        self.port = free_port()
        super().__init__(f"http://127.0.0.1:{self.port}", TOKEN)
        self.printed = tempfile.NamedTemporaryFile(prefix="packshot-server-")  # noqa: SIM115 - `serving` closes it
        with ExitStack() as parts:
            parts.callback(self.client.close)
            parts.callback(self.printed.close)
            self.process = self._start()
            parts.callback(self._kill)
            self.wait_until_ready(ready)
            self.close = parts.pop_all().close

    def _kill(self) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGKILL)

    def _start(self) -> subprocess.Popen[bytes]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PACKSHOT_")}
        environ |= {"PACKSHOT_DATA": str(self.data), "PACKSHOT_ADMIN_TOKEN": TOKEN, "PACKSHOT_LOG_LEVEL": "warning"}
        environ |= self.settings
        command = [sys.executable, "-c", self._program, "serve", "--port", str(self.port)]
        # Not a pipe: a full pipe blocks the server while the test does not read.
        return subprocess.Popen(command, env=environ, stdout=self.printed, stderr=subprocess.STDOUT)

    def wait_until_ready(self, status: int) -> None:
        def ready() -> bool:
            try:
                return self.client.get("/readyz").status_code == status
            except httpx.TransportError:
                assert self.process.poll() is None, self.output()
                return False

        wait_for(ready)

    def output(self) -> str:
        """Return what the server has printed so far."""
        return Path(self.printed.name).read_text()

    def restart(self) -> None:
        """Stop the server as an operator does, and start it again at the same address."""
        self.end(signal.SIGTERM)
        self.process = self._start()
        self.wait_until_ready(200)

    def end(self, how: signal.Signals) -> str:
        """End the server by a signal and return its output."""
        self.process.send_signal(how)
        self.process.wait(timeout=30)
        return self.output()


@contextmanager
def serving(data: Path, *, ready: int = 200, program: str = PROGRAM, **settings: str) -> Iterator[Server]:
    """Run a server during the block; `ready` is the status of /readyz after the start, `program` the Python of
    Packshot.
    """
    server = Server(data, ready, settings, program)
    with closing(server):
        yield server


def packshot(data: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one command over a data folder."""
    command, environ = _command(data, arguments, settings)
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)


def start_packshot(data: Path, *arguments: str, **settings: str) -> subprocess.Popen[str]:
    """Start one command over a data folder."""
    command, environ = _command(data, arguments, settings)
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _command(data: Path, arguments: Sequence[str], settings: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PACKSHOT_")}
    return [sys.executable, "-c", PROGRAM, *arguments], environ | {"PACKSHOT_DATA": str(data), **settings}
