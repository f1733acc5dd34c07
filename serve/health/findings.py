"""What a check found of one part of an installation; `/readyz` and `packshot doctor` show the same findings."""

from dataclasses import dataclass
from enum import StrEnum

from packshot.catalog.database.transaction import DatabaseFault
from packshot.faults import summarise
from packshot.outages import recognise


class Status(StrEnum):
    """How a part is: works, works but needs attention, does not work."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a part.

    Attributes:
        reason: for anybody, without host names, users and secrets.
        cure: what an operator does about it.
        detail: what else is known, for the log and for whoever runs `packshot doctor`.
        is_unforeseen: it may be a fault of this program, whose traceback belongs into the log.
    """

    reason: str
    cure: str
    status: Status = Status.FAILING
    detail: str = ""
    is_unforeseen: bool = False

    def __str__(self) -> str:
        return f"{self.reason}: {self.cure}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one part.

    Attributes:
        part: its name.
        is_hard: whether an application can do nothing useful without it.
        detail: what the part is, for an operator.
    """

    part: str
    detail: str = ""
    problems: tuple[Problem, ...] = ()
    is_hard: bool = False

    @property
    def status(self) -> Status:
        """The worst of its problems."""
        found = {problem.status for problem in self.problems}
        return Status.FAILING if Status.FAILING in found else Status.DEGRADED if found else Status.OK


def problem_of(error: Exception) -> Problem:
    """Return the problem that an exception of a check stands for."""
    if outage := recognise(error):
        return Problem(outage.reason, outage.cure, detail=summarise(error))
    is_outage = isinstance(error, OSError | DatabaseFault)
    cure = "start it, or correct its address" if is_outage else "look into the log of this process"
    return Problem("does not answer", cure, detail=summarise(error), is_unforeseen=not is_outage)
