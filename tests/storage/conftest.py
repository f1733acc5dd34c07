"""Servers that the tests of stores use."""

from collections.abc import Iterator

import pytest

from tests.servers.seaweed import Seaweed, running


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
