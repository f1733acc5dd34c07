"""Phrases of the former dialect do not come back in files that are free of them."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

ROOTS = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs",
    "packshot",
    "pregen",
    "resolvers",
    "schema",
    "serve",
    "bench",
    "infra",
    "tests",
)
EXCEPTIONS = (
    # The schema of the last release keeps its words until the next release.
    "schema/released.graphql",
    # Released steps keep the column comments that they wrote.
    "packshot/catalog/migrations/versions",
    # Phrases of PostgreSQL.
    "packshot/outages.py",
    # The name of a user of the operating system.
    "tests/settings/test_data_folder.py",
    "tests/docs/test_words.py",
)
SUFFIXES = (".md", ".py", ".js", ".graphql")

# Each phrase is a regular expression; the second text says what to write instead.
PHRASES = {
    r"whoever|whosoever": "the caller, a client, any process that",
    r"somebody|someone": "a user, an operator",
    r"nobody": "no client, no process, none",
    r"whatever|whatsoever": "any, everything that",
    r"anew": "again",
    r"mend(s|ed|ing)?": "repair, fix, correct",
    r"of late": "recently",
    r"at hand": "available",
    r"by then": "the time",
    r"so that it is": "a clause with a subject",
    r"(is|are|was|were) to be": "must be, will be",
    r"(is|are|was|were|be|being) told(?! apart)": "the response says, is reported",
    r"how it stands|what came of it": "state, result",
    r"one after the other": "in sequence",
    r"turned away": "refused",
    r"goes? on as (it|they) (is|are)": "continues unchanged",
    r"there (is|are) not": "does not exist",
    r"(is|are|was|were) asked for": "is requested",
    r"moving over": "migration",
    r"candidate": "pending change",
    r"prepared change": "pending change",
    # `slots=True` of a dataclass is code.
    r"(?<!process )slots?(?!=)": "location, pack location, process slot",
    r"(?<!let )(let|lets|letting) (in|go|through)": "authenticate, enqueue, release",
    r"(put|puts|putting) (off|back)": "postpone, requeue, restore",
    r"hand(s|ed|ing)? back": "release",
    r"ahead-of-time (picture|variant)s?": "planned variant",
    r"not wanted any more|outdated variants?": "superseded",
    r"fetch orders?": "URL import",
    r"(rest|http|graphql|url) faces?": "API, URL form",
}
BANNED = re.compile("|".join(rf"(?P<p{number}>\b(?:{phrase})\b)" for number, phrase in enumerate(PHRASES)), re.I)


def phrases_of(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line, the phrase and the better words for each banned phrase; a phrase may cross a line's end."""
    replacements = list(PHRASES.values())
    # A replacement of equal length keeps the positions.
    for found in BANNED.finditer(re.sub(r"\s", " ", text)):
        assert found.lastgroup is not None
        yield text.count("\n", 0, found.start()) + 1, found[0], replacements[int(found.lastgroup[1:])]


def without_lists_of_words(text: str) -> str:
    """Return a page without its section "Words to avoid", which names the phrases."""
    return re.split(r"^## Words to avoid$", text, flags=re.MULTILINE)[0]


def files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    return sorted(path for path in root.rglob("*") if path.suffix in SUFFIXES and not _is_exception(path))


def _is_exception(path: Path) -> bool:
    return path.relative_to(ROOT).as_posix().startswith(EXCEPTIONS)


@pytest.mark.parametrize("root", ROOTS)
def test_no_file_uses_a_banned_phrase(root: str) -> None:
    paths = files(ROOT / root)
    assert paths
    found = [
        f"{path.relative_to(ROOT)}:{line}: {phrase!r}, write instead: {better}"
        for path in paths
        for line, phrase, better in phrases_of(without_lists_of_words(path.read_text("utf-8")))
    ]
    assert not found, "\n".join(["", *found])


def test_a_banned_phrase_is_found_across_lines_and_in_capitals() -> None:
    text = "Whoever\nasks gets it one after\nthe other from a process slot.\n"
    assert [(line, phrase) for line, phrase, _ in phrases_of(text)] == [(1, "Whoever"), (2, "one after the other")]
