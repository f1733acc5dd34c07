"""Every decision record is short, has the same four sections, and names existing files."""

import re
from pathlib import Path

import pytest

from tests.support.paths import ROOT

RECORDS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
MAX_LINES = 40
SECTIONS = ["Context", "Choice", "Costs", "Enforced by"]
FOLDERS = ("bench", "docs", "infra", "packshot", "pregen", "resolvers", "schema", "scripts", "serve", "tests")
PATH = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[^`\s]*)`")


def test_records_are_numbered_without_a_gap() -> None:
    assert [int(record.name[:4]) for record in RECORDS] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
class TestRecord:
    def test_a_record_is_short_and_has_the_four_sections_in_order(self, record: Path) -> None:
        lines = record.read_text("utf-8").splitlines()
        assert len(lines) < MAX_LINES
        assert re.fullmatch(rf"# {int(record.name[:4])}\. .+", lines[0]), lines[0]
        assert re.findall(r"^\*\*([A-Z][a-z ]+)\.\*\*", "\n".join(lines), re.MULTILINE)[: len(SECTIONS)] == SECTIONS

    def test_files_that_a_record_names_exist(self, record: Path) -> None:
        text = record.read_text("utf-8")
        assert [path for path in PATH.findall(text) if not list(ROOT.glob(path))] == []

    def test_a_record_names_what_enforces_it(self, record: Path) -> None:
        _, enforced_by = record.read_text("utf-8").split("**Enforced by.**")
        assert PATH.search(enforced_by)
