"""What the tests of stores share."""

import multiprocessing.util

import pytest

from packshot.render.processes import environment


@pytest.fixture(autouse=True)
def _whole_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes of these tests inherit the environment, which holds the keys of the test server.

    A renderer that an earlier test made keeps it from every process that `multiprocessing` starts.
    """
    monkeypatch.setattr(multiprocessing.util, "spawnv_passfds", environment._spawn)
