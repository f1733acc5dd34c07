"""Write migrated packs. A refused part is reported, and the rest of the pack is written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packshot.model import Original, Snapshot
from packshot.originals.ingest import digest_file
from resolvers.caller import Caller
from resolvers.migration.report import Report
from resolvers.pack_imports import MAX_PACKS, NewPack, OnExisting, create_packs


@dataclass(frozen=True, slots=True)
class Arrival:
    """A migrated pack: a new one, or the differences of one that exists here.

    Attributes:
        id: id in the old service.
        what: pack, or image of the live-resize service.
    """

    id: str
    new: NewPack
    what: str = "pack"
    exists: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return self.exists and not (self.new.values or self.new.originals or self.new.overrides)


def write(caller: Caller, arrivals: Sequence[Arrival], report: Report) -> None:
    """Create or update packs, each whole or not at all, and order their variants with bulk priority.

    Raises:
        OSError: a store does not answer.
    """
    waiting = [arrival for arrival in arrivals if not arrival.is_empty]
    report.counts["packsUnchanged"] += len(arrivals) - len(waiting)
    for start in range(0, len(waiting), MAX_PACKS):
        left = waiting[start : start + MAX_PACKS]
        while left:
            left = _write(caller, left, report)


def foresee(arrivals: Sequence[Arrival], report: Report) -> None:
    """Count what `write` would do."""
    for arrival in arrivals:
        if arrival.is_empty:
            report.counts["packsUnchanged"] += 1
        else:
            _count(arrival, report)


def _write(caller: Caller, arrivals: Sequence[Arrival], report: Report) -> list[Arrival]:
    """Write packs. Return those that must be written again without a refused original."""
    outcomes, _ = create_packs(caller, [arrival.new for arrival in arrivals], OnExisting.UPDATE)
    again = []
    for arrival, outcome in zip(arrivals, outcomes, strict=True):
        if outcome.error is None:
            _count(arrival, report)
            if outcome.job_id is not None:
                report.jobs[outcome.job_id] += 1
        elif outcome.error.field[:1] == ("originals",) and len(outcome.error.field) > 1:
            refused, originals = int(outcome.error.field[1]), list(arrival.new.originals)
            place = f"{arrival.id}/{originals[refused].location}" if arrival.what == "pack" else arrival.id
            report.left("original" if arrival.what == "pack" else arrival.what, place, outcome.error)
            del originals[refused]
            rest = replace(arrival, new=replace(arrival.new, originals=originals))
            if rest.is_empty:
                report.counts["packsUnchanged"] += 1
            elif arrival.what == "pack":
                again.append(rest)
        else:
            report.left(arrival.what, arrival.id, outcome.error)
    return again


def _count(arrival: Arrival, report: Report) -> None:
    report.counts["packsChanged" if arrival.exists else "packsCreated"] += 1
    report.counts["originalsTaken"] += len(arrival.new.originals)


def is_same(path: Path, original: Original | None, snapshot: Snapshot | None, location: str) -> bool:
    """Whether a file is the original that a pack location has already.

    A file of the same size that is older than the original is not read again.
    """
    if original is None or snapshot is None:
        return False
    stat, taken_at = path.stat(), snapshot.pack_location(location).original_at
    if stat.st_size != original.bytes:
        return False
    if taken_at is not None and stat.st_mtime < taken_at.timestamp():
        return True
    return digest_file(path) == original.sha256
