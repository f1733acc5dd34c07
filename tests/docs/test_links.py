"""Links within the project's pages lead to an existing file and heading."""

import re
from pathlib import Path

from tests.support.paths import ROOT

FOLDERS = ("docs", "infra", ".github")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes from the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def is_broken(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return not target.exists() or bool(anchor and target.suffix == ".md" and anchor not in anchors(target))


def test_every_link_between_pages_leads_to_an_existing_file_and_heading() -> None:
    pages = [*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))]
    links = [(page, link) for page in pages for link in LINK.findall(prose(page)) if not re.match(r"\w+:", link)]
    assert len(links) > 100
    broken = [f"{page.relative_to(ROOT)}: {link}" for page, link in links if is_broken(page, link)]
    assert not broken, "\n".join(["", *broken])
