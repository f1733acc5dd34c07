"""The fast tier of the suite, `scripts/test --fast`: the tests that use no database, no server and no program.

A new test needs no mark to be in the right tier. Whole rooms about programs are not even imported. A test is left out
if it uses a fixture with a database or a server, or is marked `slow`. A test that starts a program is skipped then.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

TESTS = Path(__file__).parent.parent
# Rooms about servers, browsers, scripts and render processes.
ROOMS_LEFT_OUT = ("cdn", "chaos", "edge", "scripts", "servers", "render/processes")
# Fixtures with a database or a server.
FIXTURES_LEFT_OUT = {"database_url", "postgres", "s3"}
HYPOTHESIS_EXAMPLES = 20

# A busy machine is slow: that fails no property.
hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.register_profile("fast", hypothesis.settings.get_profile("suite"), max_examples=HYPOTHESIS_EXAMPLES)

_is_testing = False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fast", action="store_true", help="leave out tests that start programs or are marked `slow`")


def pytest_configure(config: pytest.Config) -> None:
    is_fast = config.getoption("--fast")
    hypothesis.settings.load_profile("fast" if is_fast else "suite")
    if is_fast:
        sys.addaudithook(_skip_at_program)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Return True for the rooms that are left out; None leaves the decision to others."""
    is_left_out = any(collection_path == TESTS / room for room in ROOMS_LEFT_OUT)
    return True if is_left_out and config.getoption("--fast") else None


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
    return not FIXTURES_LEFT_OUT.isdisjoint(getattr(item, "fixturenames", ()))


def _skip_at_program(event: str, arguments: tuple[Any, ...]) -> None:
    # Render processes are forked and come without this event.
    if event == "subprocess.Popen" and _is_testing:
        pytest.skip(f"starts a program, {arguments[0]}: not in the fast tier")
