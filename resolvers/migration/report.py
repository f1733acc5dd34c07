"""What a move has done, what of it somebody should know, and what could not be taken."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from itertools import islice
from typing import TypeVar

from packshot import faults
from packshot.errors import Internal, PackshotError, describe
from packshot.maintenance.retrying import is_outage

# Of each kind; a report may be about a million pictures. Whoever wants all of it listens.
MAX_FINDINGS = 1000
# What is here differs and was changed later than at the old service.
NEWER_HERE = "NEWER_HERE"

log = logging.getLogger(__name__)
T = TypeVar("T")


class Kind(StrEnum):
    """What a finding says of its subject."""

    LEFT = "left"  # It could not be taken.
    MAPPED = "mapped"  # It has another name or id here.
    NOTED = "noted"  # It was taken, and differs from what it was.


@dataclass(frozen=True, slots=True)
class MigrationFinding:
    """One thing that somebody should know.

    Attributes:
        what: location, pack, original, or image (of the live-resize service).
        id: as the old service or the folder has it; of an original, `<pack>/<location>`.
        code: for programs: that of a refusal, or a word of this package.
        to: of what is mapped, its name or id here.
    """

    kind: Kind
    what: str
    id: str
    code: str
    message: str
    to: str | None = None


@dataclass(slots=True)
class Report:
    """Counts and findings of a move, or of a part of it.

    Attributes:
        counts: by name, such as `packsCreated`.
        found: how many findings there are of each kind; `findings` holds the first of them.
        jobs: what renders what was taken.
    """

    counts: Counter[str] = field(default_factory=Counter)
    found: Counter[Kind] = field(default_factory=Counter)
    findings: list[MigrationFinding] = field(default_factory=list)
    jobs: Counter[str] = field(default_factory=Counter)

    def left(self, what: str, id: str, why: PackshotError | str, code: str | None = None) -> None:
        """Note what could not be taken and why."""
        self.add(MigrationFinding(Kind.LEFT, what, _spelled(id), code or _code(why), _spelled(sentence(why))))

    def unforeseen(self, what: str, id: str, error: Exception) -> None:
        """Note what could not be taken by an unforeseen exception; the log has it by its id.

        Raises:
            Exception: `error`, if it is a refusal or an outage.
        """
        if not is_unforeseen(error):
            raise error
        self.left(what, id, Internal(faults.record(log, error, "the %s %s could not be taken", what, ascii(id))))

    def noted(self, what: str, id: str, code: str, message: str) -> None:
        """Note what was taken and differs from what it was."""
        self.add(MigrationFinding(Kind.NOTED, what, id, code, message))

    def mapped(self, what: str, id: str, to: str, message: str) -> None:
        """Note what has another name or id here."""
        self.add(MigrationFinding(Kind.MAPPED, what, id, "MAPPED", message, to))

    def add(self, finding: MigrationFinding) -> None:
        self.found[finding.kind] += 1
        if self.found[finding.kind] <= MAX_FINDINGS:
            self.findings.append(finding)

    def of(self, kind: Kind) -> list[MigrationFinding]:
        """Return the first findings of a kind, in the order in which they were made."""
        return [finding for finding in self.findings if finding.kind is kind]

    def take(self, part: "Report") -> None:
        """Add what a part of the move has done."""
        self.counts.update(part.counts)
        self.jobs.update(part.jobs)
        beyond = part.found - Counter(finding.kind for finding in part.findings)
        for finding in part.findings:
            self.add(finding)
        self.found.update(beyond)


def sentence(why: PackshotError | str) -> str:
    """Return what a refusal says, with what was expected and what was got."""
    return why if isinstance(why, str) else describe(why)


def _spelled(text: str) -> str:
    """Return a text that can be written: halves of characters are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _code(why: PackshotError | str) -> str:
    return "LEFT" if isinstance(why, str) else why.code.value


def portions(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to `size` items; no more than one is held."""
    while portion := list(islice(items, size)):
        yield portion


def side_by_side(
    work: Callable[[Sequence[T]], Report],
    batches: Iterator[list[T]],
    total: Report,
    *,
    name: Callable[[T], tuple[str, str]],
    threads: int,
    seen: Callable[[Report, int], None],
) -> None:
    """Do batch after batch, some of them at once, and add what they report to `total`.

    An item that meets an unforeseen exception, in its batch and then by itself, is left, and the log has the exception.
    A refusal or an outage ends the rest before they begin, and is raised when those under way are done.

    Args:
        name: returns what an item is, and its id, for the report.
        seen: called in this thread after each batch, with what it reports and how many items it had.
    """
    work = partial(_work_on_each, work, name)
    running: dict[Future[Report], int] = {}
    with ThreadPoolExecutor(threads) as pool:
        try:
            while True:
                for batch in islice(batches, threads - len(running)):
                    running[pool.submit(work, batch)] = len(batch)
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    size = running.pop(future)
                    part = future.result()
                    total.take(part)
                    seen(part, size)
        except BaseException:
            # What the others have written is told as well.
            for future in wait(running).done:
                if future.exception() is None:
                    total.take(future.result())
                    seen(future.result(), running[future])
            raise


def _work_on_each(
    work: Callable[[Sequence[T]], Report], name: Callable[[T], tuple[str, str]], batch: Sequence[T]
) -> Report:
    try:
        return work(batch)
    except Exception as error:
        report = Report()
        if len(batch) == 1:
            report.unforeseen(*name(batch[0]), error)
            return report
        if not is_unforeseen(error):
            raise
        for item in batch:
            report.take(_work_on_each(work, name, [item]))
        return report


def is_unforeseen(error: Exception) -> bool:
    """Whether an exception is neither a refusal nor an outage."""
    return not (isinstance(error, PackshotError) or is_outage(error))
