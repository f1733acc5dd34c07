"""Free ports."""

import os
import socket
from itertools import count

# Below those that the kernel gives to connections, which would take one between its choice and its use, and above
# those of the S3 servers.
FIRST, SPAN, WORKERS = 22_000, 800, 12
# Processes that test side by side have a span each.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
# Runs side by side begin apart.
_chosen = count(os.getpid() % SPAN)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on right now, another one each time."""
    while True:
        port = FIRST + _WORKER * SPAN + next(_chosen) % SPAN
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
