"""The CDN of `infra/local-cdn` as an operator starts it: Debian's nginx and Varnish, as real processes."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx

from tests.servers.ports import free_port
from tests.support.paths import ROOT

RUN = ROOT / "infra" / "local-cdn" / "run"
SERVERS = ":/usr/local/sbin:/usr/sbin:/sbin"


def missing() -> str | None:
    """Return what this machine lacks for the CDN; None: nothing."""
    found = {name: shutil.which(name, path=os.environ["PATH"] + SERVERS) is not None for name in ("nginx", "varnishd")}
    found["libnginx-mod-http-js"] = Path("/usr/lib/nginx/modules/ngx_http_js_module.so").exists()
    found["varnish-modules"] = any(Path("/usr/lib").glob("*/varnish/vmods/libvmod_xkey.so"))
    lacking = [name for name, is_there in found.items() if not is_there]
    return f"the local CDN needs {', '.join(lacking)}" if lacking else None


class LocalCdn:
    """Both servers on loopback.

    Args:
        folder: the folder for their files.
        apps: addresses of the applications.
        bucket: the address under which `i/…` lies.
        cache_port: the port for purges.
    """

    def __init__(
        self, folder: Path, apps: Sequence[str], *, bucket: str = "", domain: str = "", cache_port: int | None = None
    ) -> None:
        self.folder = folder
        self.port, self.cache_port = free_port(), cache_port or free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.client = httpx.Client(base_url=self.base, timeout=30)
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("PACKSHOT_")} | {
            "LOCAL_CDN_FOLDER": str(folder),
            "LOCAL_CDN_APPS": " ".join(apps),
            "LOCAL_CDN_BUCKET": bucket,
            "LOCAL_CDN_PORT": str(self.port),
            "LOCAL_CDN_CACHE_PORT": str(self.cache_port),
            "LOCAL_CDN_MEMORY": "64m",
            "PACKSHOT_TENANT_DOMAIN": domain,
        }
        self.process = subprocess.Popen([str(RUN)], env=self.environ, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        said = [self.process.stdout.readline() for _ in range(2)]
        if not said[1].startswith("purges to"):
            self.stop()
            raise RuntimeError(f"the CDN does not start; see {folder}/*.log: {said}")

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def purge(self, *tags: str, soft: bool = False) -> int:
        """Purge as Packshot does; return the number of removed copies."""
        header = {"Xkey-Softpurge" if soft else "Xkey-Purge": " ".join(tags)}
        answer = httpx.request("PURGE", f"http://127.0.0.1:{self.cache_port}/", headers=header)
        assert answer.status_code == 200, answer.text
        return int(answer.headers["x-purged"])

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal and return its exit status."""
        self.process.send_signal(how)
        status = self.process.wait(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.client.close()
        return status


@contextmanager
def running(folder: Path, apps: Sequence[str], **more: Any) -> Iterator[LocalCdn]:
    """Run it during the block."""
    cdn = LocalCdn(folder, apps, **more)
    try:
        yield cdn
    finally:
        if cdn.process.poll() is None:
            cdn.stop()
