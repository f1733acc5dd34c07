"""Execute operations without HTTP."""

import pytest

from tests.schema.api import Api
from tests.support.playground import Playground


@pytest.fixture
def api(playground: Playground) -> Api:
    """Return a client of an empty installation."""
    return Api(playground)
