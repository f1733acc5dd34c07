"""What every test may use."""

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

from packshot import faults
from packshot.render.limits import Limits
from packshot.render.processes.pool import Renderer
from tests.servers.host import Host, hosting
from tests.servers.postgres import Postgres
from tests.servers.seaweed import Seaweed, running
from tests.support.playground import Playground

pytest_plugins = ["tests.support.fast_tier"]

# A shell's background job, as a suite may be run, and all that it starts are deaf to Ctrl-C, which some tests send.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Files whose tests share a cluster, as starting one takes longer than most of them: two clusters, about as long in use.
CLUSTERS = {
    "tests/chaos/test_kills.py": "cluster-1",
    "tests/chaos/test_edits.py": "cluster-1",
    "tests/chaos/test_duplicates.py": "cluster-1",
    "tests/chaos/test_store.py": "cluster-1",
    "tests/chaos/test_cluster.py": "cluster-2",
    "tests/chaos/test_database.py": "cluster-2",
    "tests/chaos/test_stops.py": "cluster-2",
}


class Shares(LoadFileScheduling):  # type: ignore[misc] # xdist has no types
    """Hands out tests file by file, and files that share a cluster to one process."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return CLUSTERS.get(file, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Shares | None:
    """Return what hands out tests under `--dist loadfile`; None leaves it to xdist."""
    return Shares(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def fresh_fault_log() -> None:
    """What one test logged hides no traceback from the next."""
    faults.FAULTS.forget()


@pytest.fixture(scope="session")
def renderer() -> Iterator[Renderer]:
    """Render processes, started once for the whole run."""
    with Renderer(Limits(), processes=2) as renderer:
        yield renderer


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL server, started once for the whole run."""
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    server.hurry()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """An S3 server, started once for the whole run; its credentials are in the environment."""
    with running(tmp_path_factory.mktemp("s3") / "seaweed") as server, pytest.MonkeyPatch.context() as patched:
        for name, value in server.environ().items():
            patched.setenv(name, value)
        yield server


@pytest.fixture(scope="session")
def bucket(s3: Seaweed) -> str:
    """A bucket for all tests; each uses a prefix of its own."""
    return s3.new_bucket()


@pytest.fixture
def host() -> Iterator[Host]:
    """A web server to fetch from."""
    with hosting() as host:
        yield host


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """An empty, migrated database of each kind; None: the SQLite file in the data folder."""
    if request.param == "sqlite":
        yield None
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.database() as url:
        yield url


@pytest.fixture
def playground(tmp_path: Path, renderer: Renderer, database_url: str | None) -> Iterator[Playground]:
    """An empty installation, on each database."""
    playground = Playground(tmp_path / "data", renderer, database_url=database_url)
    yield playground
    playground.site.catalog.close()
