"""Write the committed schema file, or compare the schema with it: `python -m schema.export`."""

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from schema.breaking import find_breaks
from schema.build import sdl

COMMITTED = Path(__file__).with_name("schema.graphql")
RELEASED = Path(__file__).with_name("released.graphql")
USAGE = """usage: python -m schema.export             write schema.graphql
       python -m schema.export --check     fail if schema.graphql is not up to date
       python -m schema.export --breaking [FILE]
                                           fail if a client of the last release, or of that file, would break
       python -m schema.export --release   write released.graphql, as part of a release
"""


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 1 if the schema differs or breaks clients, 2 for wrong usage."""
    match list(arguments):
        case []:
            COMMITTED.write_text(sdl(), encoding="utf-8")
        case ["--release"]:
            RELEASED.write_text(sdl(), encoding="utf-8")
        case ["--check"]:
            return _tell(_drift())
        case ["--breaking"]:
            return _tell(_breaks(RELEASED))
        case ["--breaking", file] if Path(file).is_file():
            return _tell(_breaks(Path(file)))
        case _:
            sys.stderr.write(USAGE)
            return 2
    return 0


def _tell(lines: list[str]) -> int:
    sys.stdout.writelines(lines)
    return 1 if lines else 0


def _drift() -> list[str]:
    committed = COMMITTED.read_text(encoding="utf-8") if COMMITTED.exists() else ""
    return list(
        difflib.unified_diff(committed.splitlines(True), sdl().splitlines(True), "schema.graphql", "the schema")
    )


def _breaks(released: Path) -> list[str]:
    return [f"{released.name}: {text}\n" for text in find_breaks(released.read_text(encoding="utf-8"), sdl())]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
