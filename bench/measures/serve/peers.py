"""The peers: bare Starlette, nginx, ipx and thumbor, each started as its users do."""

import os
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

import httpx2 as httpx

from bench import ROOT
from tests.servers.ports import free_port
from tests.support.admin import wait_for

CONF = ROOT / "infra" / "nginx" / "packshot.conf"

BARE = """
import sys
from pathlib import Path
import uvicorn
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
body = Path(sys.argv[1]).read_bytes()
async def answer(request):
    return Response(body, media_type="image/jpeg")
uvicorn.run(Starlette(routes=[Route("/i/{key:path}", answer)]), port=int(sys.argv[2]), log_level="warning")
"""


@contextmanager
def _running(command: list[str | Path], base: str, path: str, **options: Any) -> Iterator[str]:
    options |= {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    process = subprocess.Popen(command, **options)
    try:

        def answers() -> bool:
            assert process.poll() is None, f"{command[0]} has ended"
            try:
                return httpx.get(base + path, timeout=30).status_code == 200
            except httpx.TransportError:
                return False

        wait_for(answers)
        yield base
    finally:
        # Including all processes that it started.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@contextmanager
def bare_starlette(body: Path) -> Iterator[str]:
    """Serve one response from memory, with as little code as possible."""
    port = free_port()
    with _running([sys.executable, "-c", BARE, body, str(port)], f"http://127.0.0.1:{port}", "/i/a") as base:
        yield base


@contextmanager
def nginx(folder: Path, servers: str, path: str, port: int) -> Iterator[str]:
    """Run nginx with one process and these `server` blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
        (folder / name).mkdir(exist_ok=True)
    paths = "\n".join(f"{name}_temp_path {folder}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi"))
    conf = folder / "nginx.conf"
    conf.write_text(
        f"worker_processes 1; pid {folder}/pid; daemon off; error_log {folder}/error.log;\n"
        f"events {{ worker_connections 1024; }}\n"
        f"http {{ access_log off; client_body_temp_path {folder}/body; {paths}\n{servers} }}\n"
    )
    # As the current user, so that nginx can read the data folder.
    command: list[str | Path] = ["nginx", "-c", conf, "-p", folder, "-g", "user root;"]
    with _running(command, f"http://127.0.0.1:{port}", path) as base:
        yield base


def packshot_conf(values: Mapping[str, object]) -> str:
    """Return the configuration that operators use, with its variables set."""
    return Template(CONF.read_text()).safe_substitute({name: str(value) for name, value in values.items()})


@contextmanager
def ipx(scratch: Path, photos: Path, path: str) -> Iterator[str | None]:
    """Run ipx (npm) over a folder; None if it is not available."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        yield None
        return
    place = scratch / "ipx"
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "node_modules" / "ipx").exists():
        subprocess.run([npm, "install", "--silent", "--prefix", place, "ipx"], check=True)
    port = free_port()
    command: list[str | Path] = [place / "node_modules" / ".bin" / "ipx", "serve", "--dir", photos]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with _running(command, f"http://127.0.0.1:{port}", path, cwd=place) as base:
        yield base


@contextmanager
def thumbor(scratch: Path, photos: Path, path: str) -> Iterator[str]:
    """Run thumbor (PyPI) over a folder, with one process for each core."""
    place = scratch / "thumbor"
    if not (place / "bin" / "thumbor").exists():
        venv.create(place, with_pip=True)
        subprocess.run([place / "bin" / "pip", "install", "--quiet", "thumbor"], check=True)
    conf = scratch / "thumbor.conf"
    conf.write_text(f"LOADER = 'thumbor.loaders.file_loader'\nFILE_LOADER_ROOT_PATH = {str(photos)!r}\n")
    port = free_port()
    command: list[str | Path] = [place / "bin" / "thumbor", "--conf", conf, "--ip", "127.0.0.1", "--port", str(port)]
    command += ["--processes", "2", "--log-level", "error"]
    with _running(command, f"http://127.0.0.1:{port}", path) as base:
        yield base
