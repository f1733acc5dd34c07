"""Tests of the object stores."""

import pytest

# The contract is no test module by name, but its asserts should explain themselves too.
pytest.register_assert_rewrite("tests.storage.contract")
