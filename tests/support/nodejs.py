"""Node.js programs that tests run, with the packages that `tests/node/package-lock.json` pins."""

import os
import shutil
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.paths import ROOT

SOURCES = ROOT / "tests" / "node"
LOCKED = ("package.json", "package-lock.json")
INSTALL = ("ci", "--ignore-scripts", "--no-audit", "--no-fund")
PATIENCE_SECONDS = 300
# npm's messages without a network; every other message is an error of the tests.
UNREACHABLE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH")


class Node:
    """A folder with the packages, outside the project; programs run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, cwd: Path | None = None, **environ: str) -> str:
        """Run `node` with these arguments and return its output; fail if it fails."""
        done = subprocess.run(
            ["node", *command],
            cwd=cwd or self.folder,
            env=os.environ | environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, *command: str, **environ: str) -> subprocess.Popen[str]:
        """Start `node` with these arguments; the caller ends it."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            ["node", *command],
            cwd=self.folder,
            env=os.environ | environ,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )

    def copy(self, *names: str) -> None:
        """Copy sources of `tests/node` next to the packages, where Node.js looks for those."""
        for name in names:
            shutil.copy(SOURCES / name, self.folder / name)


def installed(scratch: Path) -> Node:
    """Return Node.js with the packages linked into `scratch`; skip the test without Node.js or a network.

    They are installed once for each state of the lock, into the system's folder for temporary files.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("needs Node.js and npm")
    state = sha256(b"".join((SOURCES / name).read_bytes() for name in LOCKED)).hexdigest()[:16]
    packages = Path(tempfile.gettempdir()) / f"packshot-tests-node-{state}-{os.getuid()}"
    packages.mkdir(mode=0o700, exist_ok=True)
    with FileLock(packages / "lock"):
        if not (packages / "installed").exists():
            for name in LOCKED:
                shutil.copy(SOURCES / name, packages / name)
            done = subprocess.run(
                ["npm", *INSTALL], cwd=packages, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
            )
            if any(sign in done.stderr for sign in UNREACHABLE):
                pytest.skip(f"npm reaches no registry: {done.stderr.strip()[-300:]}")
            assert done.returncode == 0, f"npm cannot install the packages: {done.stderr.strip()}"
            (packages / "installed").touch()
    scratch.mkdir()
    (scratch / "node_modules").symlink_to(packages / "node_modules")
    shutil.copy(packages / "package.json", scratch / "package.json")
    return Node(scratch)
