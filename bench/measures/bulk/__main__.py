"""`bench/bulk QUESTION`: runs one measurement, and writes the result into docs/benchmarks.md."""

import argparse
import tempfile
from pathlib import Path

from bench.measures.bulk.interactive import interactive
from bench.measures.bulk.orchestration import orchestration
from bench.measures.bulk.undo import undo
from bench.measures.report import publish


def main() -> None:
    arguments = argparse.ArgumentParser(prog="bench/bulk", description=__doc__)
    arguments.add_argument("--print-only", action="store_true", help="do not change docs/benchmarks.md")
    questions = arguments.add_subparsers(dest="question", required=True)
    alone = questions.add_parser("orchestration", help="CPU time for each pack without rendering; memory")
    alone.add_argument("--packs", type=int, default=100_000, help="number of packs (default %(default)s)")
    beside = questions.add_parser("interactive", help="time until an edit is visible while a bulk job runs")
    beside.add_argument("--photos", type=Path, help="a folder of photographs; default: drawn images")
    beside.add_argument("--packs", type=int, default=60, help="number of packs (default %(default)s)")
    beside.add_argument("--edits", type=int, default=100, help="number of edits (default %(default)s)")
    back = questions.add_parser("undo", help="what a revert of a location renders")
    back.add_argument("--packs", type=int, default=200, help="number of packs (default %(default)s)")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        # PostgreSQL refuses to run as root, and its user must be able to read the folder.
        scratch.chmod(0o755)
        if chosen.question == "orchestration":
            text = orchestration(chosen.packs, scratch)
        elif chosen.question == "undo":
            text = undo(chosen.packs, scratch)
        else:
            text = interactive(chosen.packs, chosen.edits, chosen.photos, scratch)
    publish(f"bench/bulk {chosen.question}", text, write=not chosen.print_only)


if __name__ == "__main__":
    main()
