"""Running operations as a client does, without HTTP."""

import pytest

from tests.playground import Playground
from tests.schema.api import Api


@pytest.fixture
def api(playground: Playground) -> Api:
    """The admin API of an empty installation."""
    return Api(playground)
