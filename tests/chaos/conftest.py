"""One cluster for all chaos tests of a process."""

from collections.abc import Iterator

import pytest

from tests.chaos.evidence import put_locations
from tests.servers.cluster import Cluster, running
from tests.servers.ports import free_port
from tests.support.admin import Admin


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two applications and two workers, with a proxy in front of the store that can inject faults."""
    with running(tmp_path_factory.mktemp("cluster"), ports=(free_port(), free_port()), faulty=True) as cluster:
        yield cluster


@pytest.fixture(scope="package")
def admins(cluster: Cluster) -> Iterator[list[Admin]]:
    """A client of each application, and two locations."""
    clients = [Admin(f"http://127.0.0.1:{port}", cluster.token) for port in cluster.ports]
    put_locations(clients[0])
    yield clients
    for admin in clients:
        admin.client.close()
