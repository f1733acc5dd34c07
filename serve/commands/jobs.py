"""Jobs: list, show, follow, pause, resume, cancel, retry and activate them."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from packshot.errors import NotFound
from packshot.ids import IdKind, global_id, own_id
from serve.commands.following import describe, document, follow
from serve.commands.shell import MOMENTS, AsJson, OfTenant, calling, print_json, print_table

if TYPE_CHECKING:
    from packshot.catalog.database.pages import Page
    from packshot.catalog.work.jobs import Failure, Job, JobFilter
    from resolvers.caller import Caller

MAX_RETRIES = 20

app = typer.Typer(help="Jobs: list, follow and control rendering and other background work.", no_args_is_help=True)


class State(StrEnum):
    """The states of a job, for `--state`."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    AWAITING_ACTIVATION = "awaiting-activation"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    SUPERSEDED = "superseded"


class Kind(StrEnum):
    """The kinds of jobs, for `--kind`."""

    REGENERATE = "regenerate"
    LOCATION_CHANGE = "location-change"
    IMPORT = "import"
    PURGE = "purge"
    ERASE = "erase"
    COLLECT = "collect"
    SCRUB = "scrub"


JOB_COLUMNS = (
    "id",
    "kind",
    "state",
    "location",
    "variants",
    "failed",
    "created",
    "by",
    "pack",
    "external id",
)


def _bare(text: str) -> str:
    return own_id(IdKind.JOB, text)


JobId = Annotated[str, typer.Argument(metavar="ID", parser=_bare, help="The job's id, `job:…`.")]


@app.command(name="list")
def list_jobs(
    state: Annotated[list[State] | None, typer.Option(help="Only jobs in this state; may be repeated.")] = None,
    kind: Annotated[list[Kind] | None, typer.Option(help="Only jobs of this kind; may be repeated.")] = None,
    pack: Annotated[
        str | None, typer.Option(metavar="ID", help="Only jobs about this one pack; its id or external id.")
    ] = None,
    location: Annotated[str | None, typer.Option(metavar="NAME", help="Only jobs about this one location.")] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=MOMENTS, metavar="DATE", help="Only jobs created at this time (UTC) or later."),
    ] = None,
    first: Annotated[int, typer.Option("--first", "--limit", min=1, help="Print at most N jobs.")] = 20,
    every: Annotated[bool, typer.Option("--all", help="Print all jobs.")] = False,
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Continue after this cursor, which an earlier listing printed.")
    ] = None,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with calling(tenant) as caller:
        only = _filter(caller, state, kind, pack, location, since)
        shown = _print_listing(_pages(caller, only, after, None if every else first), as_json=as_json)
    if shown.after is not None:
        more = f"The newest {shown.count} of {shown.total}" if after is None else f"{shown.count} more of {shown.total}"
        typer.echo(f"{more}; `--all` lists all, `--after {shown.after}` continues.", err=True)


def _filter(
    caller: "Caller",
    state: list[State] | None,
    kind: list[Kind] | None,
    pack: str | None,
    location: str | None,
    since: datetime | None,
) -> "JobFilter":
    from packshot.catalog.work.jobs import JobFilter, JobKind, JobState
    from packshot.model import PACK_ID
    from resolvers import jobs, locations, packs

    if pack is not None and not PACK_ID.fullmatch(pack):
        found = packs.find_pack(caller, external_id=pack)
        if found is None:
            raise NotFound("There is no such pack.", field=("pack",), expected="its id or external id", got=pack)
        pack = found
    # Jobs outlive their location.
    if (
        location is not None
        and locations.get_location(caller, location) is None
        and not jobs.list_jobs(caller, first=1, after=None, only=JobFilter(location=location)).items
    ):
        raise NotFound(f"There is no location {location!r}.", field=("location",), got=location)
    return JobFilter(
        states=[JobState(each.value.replace("-", "_")) for each in state] if state else None,
        kinds=[JobKind(each.value.replace("-", "_")) for each in kind] if kind else None,
        pack_id=pack,
        location=location,
        since=None if since is None else since.replace(tzinfo=UTC),
    )


def _pages(caller: "Caller", only: "JobFilter", after: str | None, limit: int | None) -> Iterator["Listed"]:
    """Yield the jobs page by page, each page with the external ids of its packs; limit None: all jobs."""
    from packshot.catalog.database.pages import MAX_PAGE
    from resolvers import jobs

    while limit is None or limit > 0:
        first = MAX_PAGE if limit is None else min(limit, MAX_PAGE)
        page = jobs.list_jobs(caller, first=first, after=after, only=only)
        yield Listed(page, jobs.find_external_ids(caller, page.items))
        if not page.has_next:
            return
        after = page.cursors[-1]
        limit = None if limit is None else limit - len(page.items)


@dataclass(frozen=True, slots=True)
class Listed:
    """One page of jobs.

    Attributes:
        external_ids: the external id of each pack id, for jobs about one pack.
    """

    page: "Page[Job]"
    external_ids: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Shown:
    """The extent of a printed listing.

    Attributes:
        after: the cursor of the next page; None: no job follows.
    """

    count: int
    total: int
    after: str | None


def _print_listing(pages: Iterator[Listed], *, as_json: bool) -> Shown:
    """Print each page when it arrives; JSON is one array."""
    count, total, after = 0, 0, None
    for number, listed in enumerate(pages):
        found = listed.page
        if as_json:
            for job in found.items:
                typer.echo("," if count else "[", nl=False)
                print_json(document(job, listed.external_ids), end="")
                count += 1
        else:
            print_table(JOB_COLUMNS, [_row(job, listed.external_ids) for job in found.items], with_head=not number)
            count += len(found.items)
        total, after = found.total or 0, found.cursors[-1] if found.has_next else None
    if as_json:
        typer.echo("]" if count else "[]")
    return Shown(count, total, after)


def _row(job: "Job", external_ids: dict[str, str | None]) -> tuple[str, ...]:
    return (
        global_id(IdKind.JOB, job.id),
        job.kind.value,
        job.state.value,
        job.location or "",
        f"{job.done + job.skipped + job.failed}/{job.total}",
        str(job.failed),
        _moment(job.created_at),
        job.created_by or "",
        job.pack_id or "",
        external_ids.get(job.pack_id or "") or "",
    )


@app.command(name="show")
def show_job(
    job_id: JobId,
    failures: Annotated[int, typer.Option(min=1, help="Print at most N of its failures.")] = 20,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Show a job, what it could not render, and which packs it will try again."""
    from resolvers import jobs

    with calling(tenant) as caller:
        job = _get(caller, job_id)
        found, total = _failures(caller, job_id, failures)
        told = document(job, jobs.find_external_ids(caller, [job]))
        retrying = [] if job.finished_at else jobs.list_retries(caller, job_id, first=MAX_RETRIES)
    if as_json:
        print_json(
            told
            | {
                "failures": [
                    {
                        "packId": failure.pack_id,
                        "location": failure.location,
                        "code": failure.code.value,
                        "message": failure.message,
                        "attempts": failure.attempts,
                    }
                    for failure in found
                ],
                "failuresTotal": total,
                "retrying": [
                    {
                        "packId": retry.pack_id,
                        "location": retry.location,
                        "reason": retry.reason,
                        "attempts": retry.attempts,
                        "outages": retry.outages,
                        "nextAttemptAt": retry.next_attempt_at,
                    }
                    for retry in retrying
                ],
            }
        )
        return
    typer.echo(describe(job))
    for name, value in told.items():
        if value is not None and name not in ("id", "state"):
            typer.echo(f"  {name:<18} {_moment(value) if isinstance(value, datetime) else value}")
    if found:
        typer.echo(
            f"\n{total} failed" if total == len(found) else f"\n{total} failed, of which the first {len(found)}:"
        )
        print_table(
            ("pack", "location", "code", "attempts", "message"),
            [
                (each.pack_id or "-", each.location or "-", each.code.value, str(each.attempts), each.message)
                for each in found
            ],
        )
    if retrying:
        typer.echo(f"\n{len(retrying)}{' or more' if len(retrying) == MAX_RETRIES else ''} will be tried again:")
        print_table(
            ("pack", "location", "attempts", "outages", "next attempt", "reason"),
            [
                (
                    each.pack_id or "-",
                    each.location or "-",
                    str(each.attempts),
                    str(each.outages),
                    "now" if each.next_attempt_at is None else _moment(each.next_attempt_at),
                    each.reason,
                )
                for each in retrying
            ],
        )


@app.command(name="watch")
def watch_job(job_id: JobId, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """Follow a job to its end. Ctrl-C detaches, and the job continues."""
    with calling(tenant) as caller:
        follow(caller, job_id, as_json=as_json)


@app.command(name="pause")
def pause_job(job_id: JobId, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """Pause a job that renders; variants of edits are still rendered."""
    from resolvers import jobs

    with calling(tenant) as caller:
        _tell(jobs.pause_job(caller, job_id), as_json=as_json)


@app.command(name="resume")
def resume_job(job_id: JobId, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """Resume a paused job."""
    from resolvers import jobs

    with calling(tenant) as caller:
        _tell(jobs.resume_job(caller, job_id), as_json=as_json)


@app.command(name="activate")
def activate_job(
    job_id: JobId,
    accept_failures: Annotated[
        bool, typer.Option("--accept-failures", help="Activate without the variants that failed.")
    ] = False,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Activate a pending change that waits because some of its variants failed."""
    from resolvers import jobs

    with calling(tenant) as caller:
        _tell(jobs.activate_job(caller, job_id, accept_failures=accept_failures), as_json=as_json)


@app.command(name="cancel")
def cancel_job(job_id: JobId, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """Cancel a job that renders or imports. Its results stay; its pending change is discarded."""
    from resolvers import jobs

    with calling(tenant) as caller:
        _tell(jobs.cancel_job(caller, job_id), as_json=as_json)


@app.command(name="retry")
def retry_job(job_id: JobId, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """Try again what a job could not render."""
    from resolvers import jobs

    with calling(tenant) as caller:
        _tell(jobs.retry_failures(caller, job_id), as_json=as_json)


def _get(caller: "Caller", job_id: str) -> "Job":
    from resolvers import jobs

    found = jobs.get_jobs(caller, [job_id])
    if job_id not in found:
        raise NotFound("There is no such job.", field=("id",), expected="a job of this tenant", got=job_id)
    return found[job_id]


def _failures(caller: "Caller", job_id: str, wanted: int) -> tuple[list["Failure"], int]:
    """Return at most that many of a job's failures, and the number of all."""
    from packshot.catalog.database.pages import MAX_PAGE
    from resolvers import jobs

    found: list[Failure] = []
    after, more, total = None, True, 0
    while more and len(found) < wanted:
        page = jobs.list_failures(caller, job_id, first=min(wanted - len(found), MAX_PAGE), after=after)
        found += page.items
        more, total = page.has_next, page.total or 0
        after = page.cursors[-1] if page.cursors else None
    return found, total


def _tell(job: "Job", *, as_json: bool) -> None:
    if as_json:
        print_json(document(job))
    else:
        typer.echo(describe(job))


def _moment(value: Any) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}"
