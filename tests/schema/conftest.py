"""Running operations as a client does, without HTTP."""

import pytest

from tests.schema.api import Api
from tests.support.playground import Playground


@pytest.fixture
def api(playground: Playground) -> Api:
    """The admin API of an empty installation."""
    return Api(playground)
