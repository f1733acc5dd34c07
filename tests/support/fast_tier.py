"""The fast tier of the suite, `scripts/test --fast`: every test that starts no program and takes no seconds.

A new test needs no mark to be in the right tier. A test that uses a server's fixture or is marked `slow` is left out
before it runs; a test that starts a program all the same is skipped at that moment.
"""

import sys
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest

# Fixtures that start servers, and the parameters by which other fixtures ask for one.
SERVERS = {"postgres", "postgresql", "s3", "valkey", "cluster"}
EXAMPLES = 20

# A busy machine is slow: that fails no property.
hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("fast", hypothesis.settings.get_profile("suite"), max_examples=EXAMPLES)

_is_testing = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="leave out tests that start programs or are marked `slow`")


def pytest_configure(config: pytest.Config) -> None:
    is_fast = config.getoption("--fast")
    hypothesis.settings.load_profile("fast" if is_fast else "suite")
    if is_fast:
        sys.addaudithook(_skip_at_program)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--fast"):
        left_out = [item for item in items if _is_left_out(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not _is_left_out(item)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Iterator[None]:
    global _is_testing
    _is_testing = True
    try:
        return (yield)
    finally:
        _is_testing = False


def _is_left_out(item: pytest.Item) -> bool:
    if item.get_closest_marker("slow") is not None:
        return True
    call = getattr(item, "callspec", None)
    parameters = {value for value in call.params.values() if isinstance(value, str)} if call is not None else set()
    return not SERVERS.isdisjoint(parameters.union(getattr(item, "fixturenames", ())))


def _skip_at_program(event: str, arguments: tuple[Any, ...]) -> None:
    # Render processes are forked and come without this event.
    if event == "subprocess.Popen" and _is_testing:
        pytest.skip(f"starts a program, {arguments[0]}: not in the fast tier")
