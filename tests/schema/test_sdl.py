"""The schema is described and committed, and contains what clients rely on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import get_introspection_query, parse

from schema import export
from schema.build import schema, sdl

BUILT_IN = {"Int", "Float", "String", "Boolean", "ID"}


def described() -> Iterator[tuple[str, str | None]]:
    """Yield the name and the description of everything in the schema that can have one."""
    result = schema.execute_sync(get_introspection_query(input_value_deprecation=True))
    assert result.data is not None
    for kind in result.data["__schema"]["types"]:
        name = kind["name"]
        if name.startswith("__") or name in BUILT_IN:
            continue
        yield name, kind["description"]
        for field in kind["fields"] or ():
            yield f"{name}.{field['name']}", field["description"]
            for argument in field["args"]:
                yield f"{name}.{field['name']}({argument['name']})", argument["description"]
        for value in (kind["inputFields"] or []) + (kind["enumValues"] or []):
            yield f"{name}.{value['name']}", value["description"]


def test_every_member_of_the_schema_has_a_description() -> None:
    found = dict(described())
    assert len(found) > 200
    assert [name for name, text in found.items() if not text] == []


def test_the_committed_sdl_is_up_to_date() -> None:
    assert export.COMMITTED.read_text(encoding="utf-8") == sdl(), "run python -m schema.export"
    parse(sdl())


def test_the_sdl_has_no_default_of_null() -> None:
    assert "= null" not in sdl()


@pytest.mark.parametrize(
    "promised",
    [
        "  packs(",
        "orderBy: PackOrder! = CREATED_DESC",
        "activation: Activation! = WHEN_READY",
        "method: UploadMethod! = PRESIGNED_POST",
        "dpr: Float! = 1\n",
        'loading: String! = "lazy"',
        "input PackBy @oneOf {",
        "input OriginalSource @oneOf {",
        "input JobScope @oneOf {",
        "type PackConnection {",
        "type ImageLocationEdge {",
        "type JobFailureConnection {",
        "type Taken implements UserError {",
        "type Variant implements Node {",
    ],
)
def test_the_sdl_contains_what_clients_rely_on(promised: str) -> None:
    assert promised in sdl()


def test_export_writes_and_checks_the_sdl(tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(export, "COMMITTED", tmp_path / "schema.graphql")
    assert export.main(["--check"]) == 1
    assert "+type Query {" in capsys.readouterr().out
    assert export.main([]) == 0
    assert export.main(["--check"]) == 0
    assert capsys.readouterr().out == ""
    assert export.main(["--help"]) == 2
