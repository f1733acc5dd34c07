"""The tests' S3 server ends with the test run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.servers.seaweed import remove_sockets

_KILLED = """
import json, os, signal, sys
from pathlib import Path
from tests.servers.seaweed import Seaweed
server = Seaweed(Path(sys.argv[1]))
server.start()
print(json.dumps([server.pid, server.ports]), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_the_server_of_a_killed_test_run_ends_with_it(tmp_path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], stdout=subprocess.PIPE, check=False)
    assert run.returncode == -signal.SIGKILL
    pid, ports = json.loads(run.stdout)
    deadline = time.monotonic() + 10
    while _is_running(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    remove_sockets(ports)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # Without a process that reaps orphans it stays as a zombie.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
