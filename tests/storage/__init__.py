"""Tests of the object stores."""

import pytest

# pytest does not recognise the contract as a test module by its name; this makes it explain its asserts, too.
pytest.register_assert_rewrite("tests.storage.contract")
