"""Follow a job to its end: with a bar on a terminal, with lines elsewhere, with JSON for programs."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import typer

from packshot.errors import NotFound
from packshot.ids import IdKind, global_id
from serve.commands.endings import REFUSED, WITH_FAILURES, stop
from serve.commands.shell import print_json

if TYPE_CHECKING:
    from packshot.catalog.work.jobs import Job
    from resolvers.caller import Caller

# States in which following ends, and the command's exit code.
ENDS = {
    "succeeded": 0,
    "partial": WITH_FAILURES,
    "failed": WITH_FAILURES,
    "awaiting_activation": WITH_FAILURES,
    "cancelled": REFUSED,
    "superseded": REFUSED,
}
LOOK_SECONDS = 0.5
LINE_SECONDS = 10.0
# How long the database may be unavailable while a job is followed.
PATIENCE_SECONDS = 60.0


def follow(caller: "Caller", job_id: str, *, as_json: bool) -> NoReturn:
    """Show a job until it ends or awaits activation, then end with its exit code.

    Ctrl-C ends the following only.

    Raises:
        NotFound: the tenant has no such job.
    """
    try:
        job = _show(caller, job_id, as_json=as_json)
    except KeyboardInterrupt:
        stop(f"Detached. The job continues; `packshot jobs watch job:{job_id}` follows it again.", 0)
    if not as_json:
        typer.echo(describe(job))
    if ENDS[job.state] == WITH_FAILURES:
        typer.echo(_advice(job), err=True)
    raise typer.Exit(ENDS[job.state])


def _show(caller: "Caller", job_id: str, *, as_json: bool) -> "Job":
    seen: tuple[Any, ...] | None = None
    stalled: str | None = None
    with _display(as_json=as_json) as display:
        for job in _states(caller, job_id):
            # The rate changes with time even if no variant ends, so it is shown too.
            now = (job.state, job.total, job.done, job.skipped, job.failed, job.variants_per_second, job.stalled_reason)
            if now != seen:
                display.show(job)
                seen = now
            if job.stalled_reason is not None and job.stalled_reason != stalled:
                typer.echo(job.stalled_reason, err=True)
            stalled = job.stalled_reason
            if ENDS.get(job.state) is not None:
                return job
    raise AssertionError("a job is followed until it ends")


def _states(caller: "Caller", job_id: str) -> Iterator["Job"]:
    """Yield the job now and twice a second; continue after a short outage of the database."""
    from packshot.catalog.database.transaction import DatabaseFault
    from resolvers import jobs

    away_since: float | None = None
    while True:
        try:
            found = jobs.get_jobs(caller, [job_id])
        except DatabaseFault:
            if away_since is None:
                away_since = time.monotonic()
                typer.echo("The database does not answer; trying again.", err=True)
            elif time.monotonic() - away_since > PATIENCE_SECONDS:
                raise
        else:
            away_since = None
            if job_id not in found:
                raise NotFound("There is no such job.", field=("id",), expected="a job of this tenant", got=job_id)
            yield found[job_id]
        time.sleep(LOOK_SECONDS)


class _Display(Protocol):
    def show(self, job: "Job") -> None:
        """Show the job's new state or progress."""
        ...


def _display(*, as_json: bool) -> AbstractContextManager[_Display]:
    if as_json:
        return nullcontext(_JsonLines())
    if sys.stdout.isatty():
        return _Bar()
    return nullcontext(_Lines())


class _JsonLines:
    def show(self, job: "Job") -> None:
        print_json(document(job))
        sys.stdout.flush()


class _Lines:
    """A line for each state, and one at intervals between them."""

    def __init__(self) -> None:
        self._state = ""
        self._printed = 0.0

    def show(self, job: "Job") -> None:
        if job.state in ENDS:
            return  # `follow` prints the last line.
        if job.state != self._state or time.monotonic() - self._printed > LINE_SECONDS:
            self._state, self._printed = job.state, time.monotonic()
            typer.echo(describe(job))
            sys.stdout.flush()


class _Bar:
    def __init__(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("variants  {task.fields[pace]}"),
            TimeElapsedColumn(),
        )
        self._task = self._progress.add_task("queued", total=None, pace="")

    def __enter__(self) -> "_Bar":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, job: "Job") -> None:
        self._progress.update(
            self._task,
            description=job.state.value.replace("_", " "),
            completed=_ended(job),
            total=job.total or None,
            pace=_pace(job),
        )


def describe(job: "Job") -> str:
    """Return one line with the job's state and progress."""
    parts = [f"{_ended(job)} of {job.total} variants", *filter(None, [_pace(job)])]
    return f"{global_id(IdKind.JOB, job.id)} {job.state.value.replace('_', ' ')}: {', '.join(parts)}"


def _pace(job: "Job") -> str:
    parts = []
    if job.state not in ENDS:
        if job.variants_per_second is not None:
            parts.append(f"{job.variants_per_second:.1f}/s")
        if job.eta_seconds is not None:
            parts.append(f"{job.eta_seconds // 60}:{job.eta_seconds % 60:02} left")
    if job.failed:
        parts.append(f"{job.failed} failed")
    if job.stalled_reason is not None:
        parts.append("stalled")
    return ", ".join(parts)


def _ended(job: "Job") -> int:
    return job.done + job.skipped + job.failed


def _advice(job: "Job") -> str:
    see = f"`packshot jobs show job:{job.id}` lists what could not be rendered"
    if job.state != "awaiting_activation":
        return f"{see}; `packshot jobs retry job:{job.id}` tries again."
    return (
        f"The change is not live. {see}; then `packshot jobs retry job:{job.id}`,"
        f" `packshot jobs activate job:{job.id} --accept-failures`, or `packshot jobs cancel job:{job.id}`."
    )


def document(job: "Job", external_ids: Mapping[str, str | None] | None = None) -> dict[str, Any]:
    """Return a job as a JSON document with the names of the admin API.

    Args:
        external_ids: the external id of each pack id; None leaves the field out.
    """
    return {
        "id": global_id(IdKind.JOB, job.id),
        "kind": job.kind.value.upper(),
        "state": job.state.value.upper(),
        "priority": job.priority.name,
        "location": job.location,
        "packId": job.pack_id,
        **({} if external_ids is None else {"externalId": external_ids.get(job.pack_id or "")}),
        "total": job.total,
        "done": job.done,
        "skipped": job.skipped,
        "failed": job.failed,
        "variantsPerSecond": job.variants_per_second,
        "etaSeconds": job.eta_seconds,
        "stalledReason": job.stalled_reason,
        "createdBy": job.created_by,
        "createdAt": job.created_at,
        "startedAt": job.started_at,
        "heartbeatAt": job.heartbeat_at,
        "activatedAt": job.activated_at,
        "finishedAt": job.finished_at,
    }
