"""Every row of docs/compatibility.md names an existing test."""

import ast
import functools
import re

import pytest

from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "compatibility.md"
TEST = re.compile(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)")


def tables() -> list[list[str]]:
    """Return the lines of every table: heading, separator, rows."""
    blocks = re.findall(r"(?:^\|.*\|\n?)+", PAGE.read_text("utf-8"), re.MULTILINE)
    return [block.splitlines() for block in blocks]


@functools.cache
def functions(path: str) -> set[str]:
    """Return the names of the top-level functions of a module."""
    module = ast.parse((ROOT / path).read_text("utf-8"))
    return {node.name for node in module.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.slow
def test_every_row_names_an_existing_test() -> None:
    rows = [row for table in tables() for row in table[2:]]
    assert len(rows) > 30
    for row in rows:
        named = TEST.findall(row)
        assert named, row
        for test, path in named:
            assert test in functions(path), (path, test)


def test_every_row_has_as_many_columns_as_its_heading() -> None:
    for heading, _, *rows in tables():
        for row in rows:
            assert row.count(" | ") == heading.count(" | "), row
