"""A command that cannot start ends at once, with one sentence that says what to do, and the right exit code."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from serve.server.listening import CannotListen, bind
from tests.servers.cluster import CannotRun, check_free, held
from tests.servers.ports import free_port
from tests.servers.postgres import Postgres
from tests.support.server import packshot, serving

REFUSED, USAGE, DOWN = 1, 2, 4
TOKEN = "Rj2-a-token-that-is-hard-to-guess-91"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another process listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def check(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    """Check that a command ended with that code, and with one line on standard error that has all the words."""
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert "serves" not in done.stdout


def test_a_taken_port_ends_the_server_before_anything_is_begun(tmp_path: Path, taken: int) -> None:
    done = packshot(tmp_path, "serve", "--port", str(taken))
    check(done, DOWN, f"Port {taken}", "taken", "--port")
    assert not (tmp_path / "packshot.db").exists()


@pytest.mark.parametrize(("host", "word"), [("no-such-host.invalid", "--host"), ("192.0.2.1", "--host")])
def test_an_address_that_is_not_this_machines_is_refused(tmp_path: Path, host: str, word: str) -> None:
    check(packshot(tmp_path, "serve", "--host", host, "--port", "0"), REFUSED, word)


def test_a_port_beyond_the_range_is_wrong_usage(tmp_path: Path) -> None:
    assert packshot(tmp_path, "serve", "--port", "70000").returncode == USAGE


@pytest.mark.parametrize("port", ["80000", "abc", "", "-1", "9" * 5000])
def test_the_check_of_the_address_refuses_what_is_no_port(port: str) -> None:
    command = [sys.executable, "-m", "serve.server.listening", "127.0.0.1", port]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    check(done, USAGE, "--port", "from 0 to 65535")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["migrate"], ["doctor"]])
def test_a_data_folder_that_cannot_be_made_is_named_with_its_setting(command: list[str]) -> None:
    check(packshot(Path("/proc/x"), *command), REFUSED, "/proc/x", "cannot be created", "set PACKSHOT_DATA")


def test_the_greeting_comes_when_the_server_answers_and_names_its_port(tmp_path: Path) -> None:
    with serving(tmp_path / "data") as server:
        assert f"on http://127.0.0.1:{server.port}" in server.output()


def test_every_address_of_a_name_is_bound_with_the_same_port() -> None:
    bound = bind("localhost", 0)
    assert len({listener.getsockname()[1] for listener in bound}) == 1
    for listener in bound:
        listener.close()


def test_a_taken_port_says_that_it_is(taken: int) -> None:
    with pytest.raises(CannotListen) as refused:
        bind("127.0.0.1", taken)
    assert refused.value.is_taken


def test_a_second_cluster_over_a_folder_ends_before_it_touches_the_running_one(tmp_path: Path) -> None:
    with held(tmp_path / "cluster"):
        environ = os.environ | {
            "PACKSHOT_CLUSTER": str(tmp_path / "cluster"),
            "PACKSHOT_CLUSTER_PORT": str(free_port()),
        }
        command = [sys.executable, "-W", "ignore", "-m", "tests.servers.cluster"]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    check(done, DOWN, "another cluster runs in", "PACKSHOT_CLUSTER")
    assert done.stdout == ""
    assert [path.name for path in (tmp_path / "cluster").iterdir()] == ["lock"]


def test_a_cluster_on_a_taken_port_names_it_and_does_not_start(taken: int) -> None:
    with pytest.raises(CannotRun, match=f"port {taken} is taken"):
        check_free([free_port(), taken])


@pytest.mark.parametrize("command", [["serve"], ["migrate"], ["jobs", "list"], ["doctor"]])
def test_a_file_in_place_of_the_data_folder_is_named(tmp_path: Path, command: list[str]) -> None:
    path = tmp_path / "file"
    path.write_text("")
    check(packshot(path, *command), REFUSED, str(path), "set it to a folder")


# Without these capabilities root has the rights of an ordinary user.
UNPRIVILEGED = """
import ctypes, sys
libc = ctypes.CDLL(None)
for capability in range(64):
    libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
import os
os.execv(sys.executable, [sys.executable, "-c", "from serve.cli import main; main()", *sys.argv[1:]])
"""


def unprivileged(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a user whose rights the file system checks."""
    command = [sys.executable, "-c", UNPRIVILEGED, *arguments]
    environ = {"PACKSHOT_DATA": str(data), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize(
    "command", [["serve", "--port", "0"], ["migrate"], ["jobs", "list"], ["tenant", "create", "x"]]
)
def test_another_users_folder_is_named_with_what_to_do(tmp_path: Path, command: list[str]) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(0o700)
    os.chown(folder, 65534, 65534)
    check(unprivileged(folder, *command), REFUSED, "Permission denied", str(folder), "run it as the user")


def test_a_port_that_needs_rights_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(CannotListen, match="port above 1023") as refused:
        bind("127.0.0.1", 80)
    assert not refused.value.is_taken


def on_postgres(data: Path, url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return packshot(data, *arguments, PACKSHOT_DATABASE_URL=url, PACKSHOT_ADMIN_TOKEN=TOKEN)


def test_missing_rights_in_the_database_are_no_database_that_is_away(tmp_path: Path, postgres: Postgres) -> None:
    postgres._run("CREATE ROLE weak LOGIN")
    try:
        with postgres.database(migrated=False) as empty, postgres.database() as full:
            for url in (empty, full):
                weak = sa.make_url(url).set(username="weak").render_as_string(hide_password=False)
                check(on_postgres(tmp_path, weak, "migrate"), REFUSED, "permission is denied", "grant the user")
    finally:
        postgres._run("DROP ROLE weak")


def test_a_database_that_there_is_not_and_one_that_is_not_migrated_are_told_apart(
    tmp_path: Path, postgres: Postgres
) -> None:
    with postgres.database(migrated=False) as empty:
        check(on_postgres(tmp_path, empty, "jobs", "list"), DOWN, "packshot migrate")
        absent = sa.make_url(empty).set(database="nowhere").render_as_string(hide_password=False)
        check(on_postgres(tmp_path, absent, "migrate"), DOWN, "the database does not exist", "PACKSHOT_DATABASE_URL")
        unknown = sa.make_url(empty).set(username="unknown").render_as_string(hide_password=False)
        check(on_postgres(tmp_path, unknown, "migrate"), REFUSED, "refuses the user", "PACKSHOT_DATABASE_URL")
    away = f"postgresql+psycopg://a@127.0.0.1:{free_port()}/b"
    check(on_postgres(tmp_path, away, "migrate"), DOWN, "does not answer", "PACKSHOT_DATABASE_URL")


def test_a_database_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "packshot.db").write_text("a text, and no database " * 100)
    check(packshot(tmp_path, "jobs", "list"), DOWN, "damaged", "backup")
