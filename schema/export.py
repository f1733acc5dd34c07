"""Write the schema to the file that is committed, or check that they agree: `python -m schema.export [--check]`."""

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from schema.build import sdl

COMMITTED = Path(__file__).with_name("schema.graphql")


def main(arguments: Sequence[str]) -> int:
    """Return the exit status: 1 where the committed file is not the schema."""
    if list(arguments) not in ([], ["--check"]):
        sys.stderr.write("usage: python -m schema.export [--check]\n")
        return 2
    if not arguments:
        COMMITTED.write_text(sdl(), encoding="utf-8")
        return 0
    committed = COMMITTED.read_text(encoding="utf-8") if COMMITTED.exists() else ""
    drift = list(
        difflib.unified_diff(committed.splitlines(True), sdl().splitlines(True), "schema.graphql", "the schema")
    )
    sys.stdout.writelines(drift)
    return 1 if drift else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
