"""`packshot` as a process: beside a running server, on a terminal, and stopped with Ctrl-C."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.pictures import jpeg, photo
from tests.support.server import packshot, serving

PACKSHOT = [sys.executable, "-c", "from serve.cli import main; main()"]


def environ(data: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PACKSHOT_")}
    return kept | {"PACKSHOT_DATA": str(data), "TERM": "xterm"}


def ordered(data: Path) -> tuple[str, str]:
    """Create a pack, lose its variants, and order them while no server runs; return the ids of the pack and the job."""
    with serving(data) as server:
        pack_id, job_id = server.pack_showing(jpeg(photo(320, 200)))
        server.wait_for_job(job_id)
    for path in data.glob(f"variants/default/{pack_id}/*/*/*"):
        path.unlink()
    order = json.loads(packshot(data, "regenerate", "--pack", pack_id, "--json").stdout)
    return pack_id, order["id"]


def test_an_order_of_the_command_line_is_done_by_the_running_server(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        pack_id, job_id = server.pack_showing(jpeg(photo(320, 200)))
        server.wait_for_job(job_id)
        for path in tmp_path.glob(f"variants/default/{pack_id}/*/*/*"):
            path.unlink()
        done = packshot(tmp_path, "regenerate", "--all", "--watch", "--json")
        assert done.returncode == 0
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [lines[-1][name] for name in ("state", "done", "failed")] == ["SUCCEEDED", 3, 0]
        assert {line["id"] for line in lines} == {lines[-1]["id"]}
        assert server.check_variants(pack_id) == 3
        put = packshot(tmp_path, "location", "put", "thumb", "--width", "64", "--height", "36", "--watch")
        assert put.returncode == 0
        assert put.stdout.splitlines()[-1].split()[1] == "succeeded:"
        assert server.ask('{ location(name: "thumb") { width } }') == {"location": {"width": 64}}
        assert server.check_variants(pack_id) == 9


def test_ctrl_c_ends_the_following_and_not_the_job(tmp_path: Path) -> None:
    pack_id, order = ordered(tmp_path)
    pipe = subprocess.PIPE
    command = [*PACKSHOT, "jobs", "watch", order]
    with subprocess.Popen(command, env=environ(tmp_path), stdout=pipe, stderr=pipe, text=True) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == f"{order} queued: 0 of 3 variants\n"
        watching.send_signal(signal.SIGINT)
        _, said = watching.communicate(timeout=30)
    assert watching.returncode == 0
    assert said == f"Detached. The job continues; `packshot jobs watch {order}` follows it again.\n"
    with serving(tmp_path) as server:
        assert server.wait_for_job(order)["state"] == "SUCCEEDED"
        assert server.check_variants(pack_id) == 3


def test_a_terminal_gets_a_bar_that_ctrl_c_ends(tmp_path: Path) -> None:
    _, order = ordered(tmp_path)
    terminal, inside = pty.openpty()
    command = [*PACKSHOT, "jobs", "watch", order]
    watching = subprocess.Popen(command, env=environ(tmp_path), stdin=inside, stdout=inside, stderr=inside)
    os.close(inside)
    shown = b""
    while b"0/3" not in shown:
        shown += os.read(terminal, 4096)
    watching.send_signal(signal.SIGINT)
    shown += b"".join(iter(lambda: _read(terminal), b""))
    os.close(terminal)
    assert watching.wait(30) == 0
    text = shown.decode()
    assert "queued" in text
    assert "variants" in text
    assert "Detached." in text
    assert json.loads(packshot(tmp_path, "jobs", "show", order, "--json").stdout)["state"] == "QUEUED"


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # A terminal ends with this error on Linux.
        return b""
