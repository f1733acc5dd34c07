"""Fixtures for all tests, and the distribution of test files to processes."""

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

# A shell's background job ignores Ctrl-C, and so do its children. Some tests send Ctrl-C, so restore the default.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Starting a cluster takes longer than most of its tests, so files share one. The two clusters are used for about the
# same time.
CLUSTERS = {
    "tests/chaos/test_kills.py": "cluster-1",
    "tests/chaos/test_edits.py": "cluster-1",
    "tests/chaos/test_duplicates.py": "cluster-1",
    "tests/chaos/test_store.py": "cluster-1",
    "tests/chaos/test_cluster.py": "cluster-2",
    "tests/chaos/test_database.py": "cluster-2",
    "tests/chaos/test_stops.py": "cluster-2",
}


class ClusterScheduling(LoadFileScheduling):  # type: ignore[misc] # xdist has no types
    """Distribute tests by file, and give files that share a cluster to one process."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return CLUSTERS.get(file, file)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ClusterScheduling | None:
    """Return the scheduler for `--dist loadfile`; None selects the scheduler of xdist."""
    return ClusterScheduling(config, log) if config.getoption("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def empty_fault_log() -> None:
    """Log every traceback in full, even if an earlier test logged the same one."""
    faults.FAULTS.forget()


@pytest.fixture(scope="session")
def renderer() -> Iterator[Renderer]:
    """Return render processes; they start once per run."""
    with Renderer(Limits(), processes=2) as renderer:
        yield renderer


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """Return a PostgreSQL server; it starts once per run."""
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    server.hurry()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """Return an S3 server; it starts once per run, and its credentials are in the environment."""
    with running(tmp_path_factory.mktemp("s3") / "seaweed") as server, pytest.MonkeyPatch.context() as patched:
        for name, value in server.environ().items():
            patched.setenv(name, value)
        yield server


@pytest.fixture(scope="session")
def bucket(s3: Seaweed) -> str:
    """Return a bucket that all tests share; each test uses its own prefix."""
    return s3.new_bucket()


@pytest.fixture
def host() -> Iterator[Host]:
    """Return a web server to fetch originals from."""
    with hosting() as host:
        yield host


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Return the URL of an empty, migrated database of each kind; None means the SQLite file in the data folder."""
    if request.param == "sqlite":
        yield None
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    with postgres.database() as url:
        yield url


@pytest.fixture
def playground(tmp_path: Path, renderer: Renderer, database_url: str | None) -> Iterator[Playground]:
    """Return an empty installation on each database."""
    playground = Playground(tmp_path / "data", renderer, database_url=database_url)
    yield playground
    playground.site.catalog.close()
