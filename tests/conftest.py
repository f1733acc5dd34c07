"""What every test may use."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from packshot.render.limits import Limits
from packshot.render.pool import Renderer
from tests.playground import Playground


@pytest.fixture(scope="session")
def renderer() -> Iterator[Renderer]:
    """Render processes, started once for the whole run."""
    with Renderer(Limits(), processes=2) as renderer:
        yield renderer


@pytest.fixture
def playground(tmp_path: Path, renderer: Renderer) -> Iterator[Playground]:
    """An empty installation."""
    playground = Playground(tmp_path / "data", renderer)
    yield playground
    playground.site.catalog.close()
