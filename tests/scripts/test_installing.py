"""`scripts/lib/environment.sh`: packages are installed once, and what stops an installation is named in one sentence.

Real Python, pip and disks run here. A copy of the project pins one small package, which the tests make.
"""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.paths import ROOT

INSTALL = (
    ". scripts/lib/environment.sh && make_environment requirements.txt && .venv/bin/python -c 'import pinned, own'"
)

# Builds the project in place with the standard library alone. It waits while the file `wait` exists.
BACKEND = """
import pathlib, time, zipfile

def build_editable(folder, config_settings=None, metadata_directory=None):
    here = pathlib.Path.cwd()
    (here / "building").touch()
    while (here / "wait").exists():
        time.sleep(0.01)
    name = "own-1-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as wheel:
        wheel.writestr("own.pth", str(here / "src"))
        wheel.writestr("own-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: own\\nVersion: 1\\n")
        wheel.writestr("own-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("own-1.dist-info/RECORD", "")
    return name
"""
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def pin(project: Path, version: str) -> None:
    """Make a package of this version, and pin it."""
    (project / "wheels").mkdir(exist_ok=True)
    path = project / "wheels" / f"pinned-{version}-py3-none-any.whl"
    info = f"pinned-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("pinned.py", f"version = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: pinned\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", f"pinned.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (project / "requirements.txt").write_text(f"pinned=={version} --hash=sha256:{digest}\n")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project's scripts with one pinned package."""
    project = tmp_path / "project"
    shutil.copytree(ROOT / "scripts", project / "scripts")
    (project / "src").mkdir()
    (project / "src/own.py").touch()
    (project / "backend.py").write_text(BACKEND)
    (project / "pyproject.toml").write_text(PROJECT)
    pin(project, "1")
    return project


def environ(project: Path, **more: str) -> dict[str, str]:
    """Return an environment in which pip finds the package of the tests only."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "PYTHON"))}
    pip = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(project / "wheels")}
    return kept | pip | {"PYTHON": sys.executable, "PIP_NO_CACHE_DIR": "1", "PYTHONDONTWRITEBYTECODE": "1"} | more


def install(project: Path, command: str = INSTALL, **more: str) -> subprocess.CompletedProcess[str]:
    shell = ["bash", "-euo", "pipefail", "-c", command]
    return subprocess.run(
        shell, cwd=project, env=environ(project, **more), capture_output=True, text=True, timeout=100, check=False
    )


def check_refused(done: subprocess.CompletedProcess[str], status: int, *words: str) -> None:
    """Check that a start ended with this status and one line on standard error that has the words."""
    assert done.returncode == status, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr


def test_packages_are_installed_once_and_after_a_change_of_the_lock(project: Path) -> None:
    first = install(project)
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == "Installing packages into .venv, about a minute the first time …\n"
    second = install(project)
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    pin(project, "2")
    third = install(project, INSTALL + " && .venv/bin/python -c 'import pinned; print(pinned.version)'")
    assert (third.returncode, third.stdout, third.stderr) == (0, "Installing changed packages into .venv …\n2\n", "")


def test_a_moved_folder_gets_a_new_environment(project: Path, tmp_path: Path) -> None:
    assert install(project).returncode == 0
    moved = project.rename(tmp_path / "moved")
    done = install(moved, INSTALL + " && .venv/bin/python -c 'import own; print(own.__file__)'")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(moved / "src/own.py")


def test_after_ctrl_c_the_next_start_installs_from_the_beginning(project: Path) -> None:
    (project / "wait").touch()
    shell = ["bash", "-euo", "pipefail", "-c", INSTALL]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        shell, cwd=project, env=environ(project), stdout=pipe, stderr=pipe, text=True, process_group=0
    ) as first:
        while not (project / "building").exists():
            assert first.poll() is None
            time.sleep(0.01)
        # As a terminal does: every process of the group gets the signal.
        os.killpg(first.pid, signal.SIGINT)
        errors = first.communicate(timeout=60)[1]
    assert first.returncode == 130
    assert errors == "Stopped before all packages were installed; the next start installs them from the beginning.\n"
    (project / "wait").unlink()
    # pip alone would not restore the file, because it takes the package for installed.
    next(project.glob(".venv/lib/*/site-packages/pinned.py")).unlink()
    assert install(project).returncode == 0


def test_a_second_start_during_an_installation_ends_at_once(project: Path) -> None:
    (project / "wait").touch()
    shell = ["bash", "-euo", "pipefail", "-c", INSTALL]
    with subprocess.Popen(shell, cwd=project, env=environ(project), stdout=subprocess.DEVNULL) as first:
        while not (project / "building").exists():
            assert first.poll() is None
            time.sleep(0.01)
        check_refused(install(project), 4, "Another start installs packages", "wait until it is done")
        (project / "wait").unlink()
        assert first.wait(60) == 0
    assert install(project).stdout == ""


def test_an_index_that_does_not_answer_is_named(project: Path) -> None:
    without_network = {"PIP_NO_INDEX": "0", "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "1"}
    shutil.rmtree(project / "wheels")
    check_refused(install(project, **without_network), 1, "package index", "connect to the network", "PIP_INDEX_URL")


def test_the_output_of_pip_is_shown_if_the_reason_is_unknown(project: Path) -> None:
    (project / "requirements.txt").write_text(f"pinned==1 --hash=sha256:{'0' * 64}\n")
    done = install(project)
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("The packages could not be installed; the lines above say why.")


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{shutil.which('bash')}\n{text}\n")
    path.chmod(0o755)


# A real Python that reports version 3.10, and one that lacks a module, as Debian's does.
OLD = 'shift; exec REAL -c "import sys; sys.version_info = (3, 10, 13); exec(sys.argv[1])" "$1"'
INCOMPLETE = 'shift; exec REAL -c "import sys; sys.modules[\'ensurepip\'] = None; exec(sys.argv[1])" "$1"'


@pytest.mark.parametrize(
    ("script", "pythons", "words"),
    [
        ("run", {}, ["none is on the PATH"]),
        ("check", {}, ["none is on the PATH"]),
        ("cluster", {"python3": OLD}, ["python3 is Python 3.10"]),
        ("run", {"python3.12": INCOMPLETE, "python3": OLD}, ["python3.12 has no module ensurepip", "-venv"]),
        ("fix", {"python3.14": "exit 127", "python3": OLD}, ["python3 is Python 3.10"]),
    ],
)
def test_a_machine_without_a_python_that_fits_says_what_it_has(
    project: Path, tmp_path: Path, script: str, pythons: Mapping[str, str], words: list[str]
) -> None:
    programs = tmp_path / "programs"
    for name, text in pythons.items():
        program(programs, name, text.replace("REAL", sys.executable))
    for name in ["bash", "dirname", "cat", "rm", "sed", "grep", "cmp", "mkdir", "touch", "mktemp", "df", "awk"]:
        programs.mkdir(exist_ok=True)
        (programs / name).symlink_to(str(shutil.which(name)))
    done = install(project, f"exec scripts/{script}", PATH=str(programs), PYTHON="")
    check_refused(done, 1, "needs Python 3.11 to 3.14", "install one", "PYTHON", *words)


def test_a_python_that_is_named_and_does_not_start_is_refused(project: Path) -> None:
    done = install(project, PYTHON="/no/such/python")
    check_refused(done, 1, "PYTHON names /no/such/python, which does not start")


def can_mount() -> bool:
    if sys.platform != "linux" or os.getuid() != 0 or shutil.which("unshare") is None:
        return False
    mount = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


needs_mounts = pytest.mark.skipif(not can_mount(), reason="only root on Linux can mount small disks")


def on_disk(project: Path, options: str, prepare: str = "") -> subprocess.CompletedProcess[str]:
    """Install on a small disk that only this command sees."""
    disk = project.parent / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o {options} tmpfs {disk} && cp -r . {disk}/project && cd {disk}/project"
    command = f"{mount} && {prepare} {INSTALL}"
    shell = ["unshare", "--mount", "bash", "-euo", "pipefail", "-c", command]
    return subprocess.run(
        shell, cwd=project, env=environ(project), capture_output=True, text=True, timeout=100, check=False
    )


@needs_mounts
def test_a_disk_without_space_for_the_packages_is_named_before_anything_is_written(project: Path) -> None:
    check_refused(on_disk(project, "size=20m"), 1, "need about 400 MB", "MB free", "free some space")


@needs_mounts
def test_a_disk_that_fills_during_the_installation_is_named(project: Path) -> None:
    # The disk reports more space than there is, as with a quota.
    quota = "df() { printf 'head\\n0 0 0 9999999\\n'; } && export -f df &&"
    check_refused(on_disk(project, "size=3m", quota), 1, "is full", "free some space")


@needs_mounts
def test_a_read_only_disk_is_named(project: Path) -> None:
    done = on_disk(project, "size=20m", "mount -o remount,ro ../ &&")
    check_refused(done, 1, "is read-only", "on a disk that can be written")


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("setpriv") is None, reason="only root can become another user")
def test_another_users_copy_is_named(project: Path) -> None:
    # The other user can reach the copy, which lies below pytest's private folders.
    for folder in project.parents[:3]:
        folder.chmod(0o755)
    other = "setpriv --reuid=65534 --regid=65534 --clear-groups bash -euo pipefail -c"
    done = install(project, f"exec {other} '. scripts/lib/environment.sh && hold_installation'")
    check_refused(done, 1, "may not write to", "a copy of your own")


@pytest.mark.parametrize("script", ["run", "check", "fix", "cluster"])
def test_each_script_explains_itself_without_an_installation(project: Path, script: str) -> None:
    done = install(project, f"exec scripts/{script} --help", PYTHON="/no/such/python")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"Usage: scripts/{script}" in done.stdout
    assert "set -euo" not in done.stdout


@pytest.mark.parametrize("script", ["run --bogus", "run --port", "check bogus", "fix bogus", "cluster bogus"])
def test_an_unknown_argument_is_refused_in_one_sentence(project: Path, script: str) -> None:
    check_refused(install(project, f"exec scripts/{script}"), 2, "--help")
