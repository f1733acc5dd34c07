"""The application over a playground, as in `tests/serve`."""

from tests.serve.conftest import client

__all__ = ["client"]
