"""The architecture page names existing files and functions, its flows are short, and it lists every floor."""

import ast
import os
import re
import tomllib
from functools import cache

import pytest

from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
CHANGING = (ROOT / "docs" / "changing-configuration.md").read_text("utf-8")
MAX_STOPS, MAX_FILES = 12, 15
PLACE = re.compile(r"`([\w/.-]+\.py)::([\w.]+)`")
FOLDERS = "bench|docs|infra|packshot|pregen|resolvers|schema|scripts|serve|tests"
PATH = re.compile(rf"`((?:{FOLDERS})/[\w/.-]*)(?:::[\w.]+)?`")
STOP = re.compile(r"^\d+\. .*(?:\n   .*)*", re.MULTILINE)


def sections(level: str, title: str) -> dict[str, str]:
    """Return the bodies of the sections of a level whose titles begin with `title`."""
    parts = re.split(rf"^{level} ", PAGE, flags=re.MULTILINE)[1:]
    found = (part.partition("\n") for part in parts)
    return {heading: body for heading, _, body in found if heading.startswith(title)}


@cache
def definitions(path: str) -> frozenset[str]:
    """Return the functions, classes, members and variables of a module, as `name` or `Class.name`."""

    def names(body: list[ast.stmt], holder: str) -> list[str]:
        found = []
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                found.append(holder + node.name)
            elif isinstance(node, ast.ClassDef):
                found += [holder + node.name, *names(node.body, f"{holder}{node.name}.")]
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                found += [holder + target.id for target in targets if isinstance(target, ast.Name)]
        return found

    return frozenset(names(ast.parse((ROOT / path).read_text("utf-8")).body, ""))


@pytest.mark.parametrize(("path", "name"), sorted(set(PLACE.findall(PAGE + CHANGING))))
def test_every_named_function_exists(path: str, name: str) -> None:
    assert name in definitions(path)


@pytest.mark.parametrize(
    "page", ["docs/architecture.md", "docs/changing-configuration.md", "CONTRIBUTING.md", "SECURITY.md"]
)
def test_every_named_file_and_folder_exists(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert [path for path in PATH.findall(text) if not (ROOT / path).exists()] == []


def test_contributing_lists_every_script() -> None:
    commands = {path.name for path in (ROOT / "scripts").iterdir() if path.is_file() and os.access(path, os.X_OK)}
    page = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert set(re.findall(r"^\| `scripts/(\w+)` \|", page, re.MULTILINE)) == commands


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_flow_has_few_stops_and_files_and_each_stop_names_a_function(number: int) -> None:
    ((_, flow),) = sections("##", f"Flow {number}:").items()
    stops = STOP.findall(flow)
    assert 5 <= len(stops) <= MAX_STOPS
    assert [int(stop.partition(".")[0]) for stop in stops] == list(range(1, len(stops) + 1))
    assert all(PLACE.search(stop) for stop in stops)
    assert len({path for path in PATH.findall(flow) if path.endswith(".py")}) <= MAX_FILES


def test_each_way_to_add_something_is_a_list_of_places() -> None:
    ways = sections("###", "… ")
    code = ["a location field", "an output format", "a resize mode", "a purger", "a store"]
    work = ["a job kind", "a background service"]
    assert list(ways) == [f"… {thing}" for thing in [*code, *work, "a setting", "a REST endpoint", "a command"]]
    assert all(len(STOP.findall(way)) >= 3 and PLACE.search(way) for way in ways.values())


def test_the_page_lists_the_floors_of_the_import_contracts() -> None:
    (rooms,) = sections("##", "Rooms and floors").values()
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    expected = {
        f"`{contract['containers'][0].replace('.', '/')}`" if "containers" in contract else "the project": [
            {name.strip() for name in floor.split(":")} for floor in contract["layers"]
        ]
        for contract in contracts
        if contract["type"] == "layers"
    }
    rows = [line.strip("| ").split(" | ") for line in rooms.splitlines() if " › " in line]
    assert {place: [set(floor.split(", ")) for floor in floors.split(" › ")] for place, floors in rows} == expected
