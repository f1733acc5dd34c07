"""Debian's PgBouncer in front of a PostgreSQL server."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from tests.servers.ports import free_port
from tests.support.admin import wait_for

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@contextmanager
def pgbouncer(url: str, *, mode: str, more: str = "") -> Iterator[str]:
    """Run PgBouncer in front of a database during the block, and yield the URL through it.

    Args:
        url: the URL of a database on a socket.
        mode: `session` or `transaction`.
        more: further lines of its configuration.
    """
    assert PROGRAM is not None
    parsed, port = sa.make_url(url), free_port()
    with tempfile.TemporaryDirectory(prefix="pgbouncer") as name:
        folder = Path(name)
        folder.chmod(0o755)
        # PgBouncer refuses to run as root, and only the server's user can read the socket's folder.
        owner = pwd.getpwuid(os.stat(str(parsed.query["host"])).st_uid).pw_name
        user = f"user = {owner}\n" if os.geteuid() == 0 else ""
        configuration = folder / "pgbouncer.ini"
        configuration.write_text(
            f"[databases]\n* = host={parsed.query['host']} user={parsed.username}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            # In transaction mode fewer connections than clients, so that clients change connections.
            f"pool_mode = {mode}\ndefault_pool_size = {3 if mode == 'transaction' else 20}\n{user}{more}"
        )
        log = folder / "log"
        with log.open("wb") as file:
            process = subprocess.Popen([PROGRAM, str(configuration)], stdout=file, stderr=file)
        try:
            wait_for(lambda: "process up" in log.read_text(), 20)
            yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/{parsed.database}"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
