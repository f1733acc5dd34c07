"""Tables of results, and their sections of docs/benchmarks.md."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import ROOT

PAGE = ROOT / "docs" / "benchmarks.md"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def circumstances(command: str, *versions: str) -> str:
    """Return a line with the machine, the versions, the command and the day."""
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    return f"{_processor()}; Python {platform.python_version()}, {', '.join(versions)}; `{command}`; {day}."


def publish(section: str, text: str, *, write: bool) -> None:
    """Print `text`, and write it into a section of the page.

    Raises:
        ValueError: the page has no such section.
    """
    print(text)
    if not write:
        return
    first, last = f"<!-- {section} -->\n", f"<!-- end of {section} -->\n"
    page = PAGE.read_text()
    before, _, rest = page.partition(first)
    _, found, after = rest.partition(last)
    if not found:
        raise ValueError(f"{PAGE} has no section {section!r}")
    PAGE.write_text(before + first + "\n" + text.strip() + "\n\n" + last + after)


def _processor() -> str:
    name = platform.processor() or platform.machine()
    if (described := Path("/proc/cpuinfo")).exists():
        lines = (line.partition(":") for line in described.read_text().splitlines())
        name = next((value.strip() for key, _, value in lines if key.strip() == "model name"), name)
    return f"{name}, {os.cpu_count()} cores"
