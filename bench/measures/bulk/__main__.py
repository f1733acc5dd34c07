"""`bench/bulk QUESTION`: measures one and writes it into docs/benchmarks.md."""

import argparse
import tempfile
from pathlib import Path

from bench.measures.bulk.interactive import interactive
from bench.measures.bulk.orchestration import orchestration
from bench.measures.bulk.undo import undo
from bench.measures.report import publish


def main() -> None:
    arguments = argparse.ArgumentParser(prog="bench/bulk")
    arguments.add_argument("--print-only", action="store_true", help="leave docs/benchmarks.md as it is")
    questions = arguments.add_subparsers(dest="question", required=True)
    alone = questions.add_parser("orchestration", help="CPU time of a pack apart from rendering; memory")
    alone.add_argument("--packs", type=int, default=100_000)
    beside = questions.add_parser("interactive", help="how soon an edit shows while a bulk job runs")
    beside.add_argument("--photos", type=Path, help="folder of photographs; drawn ones otherwise")
    beside.add_argument("--packs", type=int, default=60)
    beside.add_argument("--edits", type=int, default=100)
    back = questions.add_parser("undo", help="what undoing a location's change renders")
    back.add_argument("--packs", type=int, default=200)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        # PostgreSQL refuses to run as root, so its user must be able to reach its folder.
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
