"""The glossary names every GraphQL object type, every table and every room, and no others."""

import re
from collections import Counter
from importlib import import_module
from pkgutil import iter_modules

import sqlalchemy as sa
from graphql import GraphQLInterfaceType, GraphQLObjectType, build_schema

from packshot.catalog import tables
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "glossary.md"
PACKAGES = ("packshot", "pregen", "resolvers", "schema", "serve")


def rows(*headings: str) -> list[list[str]]:
    """Return the cells of the tables below these headings, without the heads of the tables."""
    found = []
    for section in PAGE.read_text("utf-8").split("\n## ")[1:]:
        heading, _, body = section.partition("\n")
        if heading in headings:
            lines = [line for line in body.splitlines() if line.startswith("|")]
            found += [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return found


def names(kind: str) -> list[str]:
    """Return the names that the glossary gives for a kind: `type` or `table`."""
    parts = [part.strip() for row in rows("Domain", "Machinery") for part in row[2].split(";")]
    return [name for part in parts if part.startswith(f"{kind} ") for name in re.findall(r"`(\w+)`", part)]


def test_every_object_type_has_one_line_and_every_named_type_exists() -> None:
    types = build_schema((ROOT / "schema" / "schema.graphql").read_text("utf-8")).type_map
    expected = {
        name
        for name, kind in types.items()
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType) and not name.startswith("__")
    }
    assert Counter(names("type")) == Counter(expected)


def test_every_table_has_one_line_and_every_named_table_exists() -> None:
    modules = [import_module(f"{tables.__name__}.{module.name}") for module in iter_modules(tables.__path__)]
    existing = {value.name for module in modules for value in vars(module).values() if isinstance(value, sa.Table)}
    assert Counter(names("table")) == Counter(existing)


def test_every_room_has_one_line_and_every_named_room_exists() -> None:
    folders = [init.parent for package in PACKAGES for init in (ROOT / package).rglob("__init__.py")]
    named = [re.findall(r"`([\w/]+)`", room)[0] for room, _ in rows("Rooms")]
    assert Counter(named) == Counter(folder.relative_to(ROOT).as_posix() for folder in folders)


def test_every_word_has_one_line_and_a_meaning() -> None:
    lines = rows("Domain", "Machinery")
    words = Counter(word.strip() for row in lines for word in row[0].split(","))
    assert [word for word, count in words.items() if count > 1] == []
    assert all(len(row) == 3 and row[1] for row in lines)
    avoided = {word.strip() for row in rows("Words to avoid") for word in re.sub(r"\(.*?\)", "", row[0]).split(",")}
    assert avoided.isdisjoint(words.keys())
