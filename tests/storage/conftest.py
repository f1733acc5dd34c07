"""Fixtures that the tests of stores share."""

import multiprocessing.util

import pytest

from packshot.render.processes import environment


@pytest.fixture(autouse=True)
def _whole_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pass the current environment, with the keys of the test server, to the processes of these tests.

    `multiprocessing` starts processes from a server process, which an earlier test's renderer started without these
    keys.
    """
    monkeypatch.setattr(multiprocessing.util, "spawnv_passfds", environment._spawn)
