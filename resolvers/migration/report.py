"""The report of a migration: its counts, and the findings that a user should know."""

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

# Findings of each kind. A migration may have a million images; a listener gets every finding.
MAX_FINDINGS = 1000
# The object here differs, and was changed later than in the old service.
NEWER_HERE = "NEWER_HERE"

log = logging.getLogger(__name__)
T = TypeVar("T")


class Kind(StrEnum):
    """What a finding says about its subject."""

    LEFT = "left"  # It could not be migrated.
    MAPPED = "mapped"  # It has another name or id here.
    NOTED = "noted"  # It was migrated with a difference.


@dataclass(frozen=True, slots=True)
class MigrationFinding:
    """One fact that a user should know.

    Attributes:
        what: location, pack, original, or image (of the live-resize service).
        id: id in the old service or the folder; of an original, `<pack>/<location>`.
        code: for programs: the code of a refusal, or a word of this package.
        to: the new name or id of a mapped object.
    """

    kind: Kind
    what: str
    id: str
    code: str
    message: str
    to: str | None = None


@dataclass(slots=True)
class Report:
    """Counts and findings of a migration, or of a part of it.

    Attributes:
        counts: by name, such as `packsCreated`.
        found: number of findings of each kind; `findings` holds the first of them.
        jobs: jobs that render the migrated packs, with the number of packs.
    """

    counts: Counter[str] = field(default_factory=Counter)
    found: Counter[Kind] = field(default_factory=Counter)
    findings: list[MigrationFinding] = field(default_factory=list)
    jobs: Counter[str] = field(default_factory=Counter)

    def left(self, what: str, id: str, why: PackshotError | str, code: str | None = None) -> None:
        """Record that something could not be migrated, and why."""
        self.add(MigrationFinding(Kind.LEFT, what, _spelled(id), code or _code(why), _spelled(sentence(why))))

    def unforeseen(self, what: str, id: str, error: Exception) -> None:
        """Record that something could not be migrated because of a fault, with the id of the log entry.

        Raises:
            Exception: `error`, if it is a refusal or an outage.
        """
        if not is_unforeseen(error):
            raise error
        self.left(what, id, Internal(faults.record(log, error, "the %s %s could not be migrated", what, ascii(id))))

    def noted(self, what: str, id: str, code: str, message: str) -> None:
        """Record that something was migrated with a difference."""
        self.add(MigrationFinding(Kind.NOTED, what, id, code, message))

    def mapped(self, what: str, id: str, to: str, message: str) -> None:
        """Record that something has another name or id here."""
        self.add(MigrationFinding(Kind.MAPPED, what, id, "MAPPED", message, to))

    def add(self, finding: MigrationFinding) -> None:
        self.found[finding.kind] += 1
        if self.found[finding.kind] <= MAX_FINDINGS:
            self.findings.append(finding)

    def of(self, kind: Kind) -> list[MigrationFinding]:
        """Return the first findings of a kind, oldest first."""
        return [finding for finding in self.findings if finding.kind is kind]

    def take(self, part: "Report") -> None:
        """Add the counts and findings of a part of the migration."""
        self.counts.update(part.counts)
        self.jobs.update(part.jobs)
        beyond = part.found - Counter(finding.kind for finding in part.findings)
        for finding in part.findings:
            self.add(finding)
        self.found.update(beyond)


def sentence(why: PackshotError | str) -> str:
    """Return the text of a refusal, with the expected and the actual value."""
    return why if isinstance(why, str) else describe(why)


def _spelled(text: str) -> str:
    """Return a text that can be encoded: lone surrogates are escaped."""
    return text.encode("utf-8", "backslashreplace").decode()


def _code(why: PackshotError | str) -> str:
    return "LEFT" if isinstance(why, str) else why.code.value


def portions(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Yield lists of up to `size` items. Only one list is held at a time."""
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
    """Work on batches in several threads, and add their reports to `total`.

    After a fault each item of the batch is tried alone. An item that fails again is reported and logged. After a
    refusal or an outage no further batch begins, and the exception is raised when the batches in progress have ended.

    Args:
        name: returns the kind of an item and its id, for the report.
        seen: called in this thread after each batch, with its report and its number of items.
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
            # The other batches have been written, so they are reported as well.
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
    """Whether an exception is a fault: neither a refusal nor an outage."""
    return not (isinstance(error, PackshotError) or is_outage(error))
