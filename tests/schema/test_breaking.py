"""A release removes only what the release before it had deprecated."""

from pathlib import Path

import pytest

from schema import export
from schema.breaking import find_breaks
from schema.build import sdl

RELEASED = """
type Query {
  pack(id: ID!, old: Int @deprecated(reason: "Unused."), size: Int): Pack
  picture: Picture @deprecated(reason: "Use pack.")
  size: Size
}
interface Node { id: ID! }
type Pack implements Node { id: ID! name: String title: String @deprecated(reason: "Use name.") }
type Picture { frame: Frame }
type Frame { width: Int }
enum Size { LARGE SMALL HUGE @deprecated(reason: "Use LARGE.") }
type Mutation { put(input: Input): Pack }
input Input { name: String, title: String @deprecated(reason: "Use name.") }
"""


def without(*texts: str) -> str:
    now = RELEASED
    for text in texts:
        assert text in now
        now = now.replace(text, "", 1)
    return now


@pytest.mark.parametrize(
    ("gone", "named"),
    [
        (" name: String", "Pack.name"),
        (", size: Int", "Query.pack(size:)"),
        (" SMALL", "Size.SMALL"),
        ("type Mutation { put(input: Input): Pack }", "Mutation"),
        ("input Input { name: String,", "Input.name"),
        (" implements Node", "Node"),
    ],
)
def test_removing_a_member_without_deprecation_is_breaking(gone: str, named: str) -> None:
    now = without(gone) if not gone.startswith("input") else RELEASED.replace(gone, "input Input {")
    breaks = find_breaks(RELEASED, now)
    assert breaks
    assert all(part in " ".join(breaks) for part in named.replace("(", ".").replace(":)", "").split("."))


def test_deprecated_members_may_be_removed_with_types_that_only_they_used() -> None:
    now = without(
        ', old: Int @deprecated(reason: "Unused.")',
        '  picture: Picture @deprecated(reason: "Use pack.")',
        ' title: String @deprecated(reason: "Use name.")',
        "type Picture { frame: Frame }",
        "type Frame { width: Int }",
        ' HUGE @deprecated(reason: "Use LARGE.")',
        ', title: String @deprecated(reason: "Use name.")',
    )
    assert find_breaks(RELEASED, now) == []


def test_deprecating_and_removing_in_one_release_is_breaking() -> None:
    before = RELEASED.replace(' @deprecated(reason: "Use pack.")', "")
    assert len(find_breaks(before, RELEASED.replace("  picture: Picture", "  other: Picture"))) == 1


def test_a_deprecated_field_keeps_its_type() -> None:
    assert len(find_breaks(RELEASED, RELEASED.replace("title: String @", "title: Int @"))) == 2


def test_only_required_additions_are_breaking() -> None:
    assert find_breaks(RELEASED, RELEASED.replace("name: String", "name: String more: Int", 1)) == []
    assert find_breaks(RELEASED, RELEASED.replace("size: Int)", "size: Int, must: Int!)"))


@pytest.mark.slow
def test_the_command_lists_what_clients_of_a_file_would_miss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    released = tmp_path / "1.0.graphql"
    monkeypatch.setattr(export, "RELEASED", released)
    assert export.main(["--release"]) == 0
    assert released.read_text("utf-8") == sdl()
    assert export.main(["--breaking"]) == export.main(["--breaking", str(released)]) == 0
    assert capsys.readouterr().out == ""
    released.write_text(sdl().replace("type Viewer {", "type Viewer {\n  nickname: String"), "utf-8")
    assert export.main(["--breaking"]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("1.0.graphql: ")
    assert "Viewer.nickname" in printed
    assert export.main(["--breaking", str(tmp_path / "none.graphql")]) == 2


def test_no_client_of_the_last_release_breaks() -> None:
    assert export.main(["--breaking"]) == 0
