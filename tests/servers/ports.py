"""Free ports."""

import os
import socket
from itertools import count

# Below the kernel's range for outgoing connections, which could take a port between its choice and its use, and above
# the ports of the S3 servers.
FIRST, SPAN, WORKERS = 22_000, 800, 12
# Each test process has its own span.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
# Parallel runs begin at different ports.
_chosen = count(os.getpid() % SPAN)


def free_port() -> int:
    """Return a free port of the loopback interface, a different one each time."""
    while True:
        port = FIRST + _WORKER * SPAN + next(_chosen) % SPAN
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
