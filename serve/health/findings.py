"""The findings of checks; `/readyz` and `packshot doctor` show the same ones."""

from dataclasses import dataclass
from enum import StrEnum

from packshot.catalog.database.transaction import DatabaseFault
from packshot.faults import summarise
from packshot.outages import recognise


class Status(StrEnum):
    """The state of a part: works, works but needs attention, does not work."""

    OK = "ok"
    DEGRADED = "degraded"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a part.

    Attributes:
        reason: for everyone, without host names, users and secrets.
        cure: what an operator does about it.
        detail: more for the log and for `packshot doctor`.
        is_unforeseen: it may be a fault, whose traceback belongs in the log.
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
    """The result of checking one part.

    Attributes:
        part: the name of the part.
        is_hard: whether an application can serve no image without it.
        detail: a description of the part, for an operator.
    """

    part: str
    detail: str = ""
    problems: tuple[Problem, ...] = ()
    is_hard: bool = False

    @property
    def status(self) -> Status:
        """The worst status of its problems."""
        found = {problem.status for problem in self.problems}
        return Status.FAILING if Status.FAILING in found else Status.DEGRADED if found else Status.OK


def problem_of(error: Exception) -> Problem:
    """Return the problem for an exception of a check."""
    if outage := recognise(error):
        return Problem(outage.reason, outage.cure, detail=summarise(error))
    is_outage = isinstance(error, OSError | DatabaseFault)
    cure = "start it, or correct its address" if is_outage else "read the log of this process"
    return Problem("does not answer", cure, detail=summarise(error), is_unforeseen=not is_outage)
