"""Jobs: what there are, how far they are, and what an operator does about them."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from packshot.errors import NotFound
from serve.commands.following import describe, document, follow
from serve.commands.shell import AsJson, OfTenant, calling, print_json, print_table

if TYPE_CHECKING:
    from packshot.catalog.jobs import Failure, Job
    from resolvers.caller import Caller

app = typer.Typer(help="Jobs: what is rendered, how far it is, and what failed.", no_args_is_help=True)


class State(StrEnum):
    """How a job stands, for `--state`."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    AWAITING_ACTIVATION = "awaiting-activation"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    SUPERSEDED = "superseded"


def _bare(text: str) -> str:
    return text.removeprefix("job:")


JobId = Annotated[str, typer.Argument(metavar="ID", parser=_bare, help="The job's id, `job:…`.")]


@app.command(name="list")
def list_jobs(
    state: Annotated[list[State] | None, typer.Option(help="Only such ones; may be given more than once.")] = None,
    first: Annotated[int, typer.Option(min=1, max=100, help="How many, from the newest.")] = 20,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    from packshot.catalog.jobs import JobState
    from resolvers import jobs

    states = [JobState(each.value.replace("-", "_")) for each in state] if state else None
    with calling(tenant) as caller:
        page = jobs.list_jobs(caller, first=first, after=None, states=states)
    if as_json:
        print_json([document(job) for job in page.items])
        return
    print_table(
        ("id", "kind", "state", "location", "variants", "failed", "created", "by"),
        [
            (
                f"job:{job.id}",
                job.kind.value,
                job.state.value,
                job.location or "",
                f"{job.done + job.skipped + job.failed}/{job.total}",
                str(job.failed),
                _moment(job.created_at),
                job.created_by or "",
            )
            for job in page.items
        ],
    )
    if page.has_next:
        typer.echo(f"The newest {len(page.items)} of {page.total}.", err=True)


@app.command(name="show")
def show_job(
    job_id: JobId,
    failures: Annotated[int, typer.Option(min=1, help="How many of its failures to print.")] = 20,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Show one job, and what of it could not be rendered."""
    with calling(tenant) as caller:
        job = _get(caller, job_id)
        found, total = _failures(caller, job_id, failures)
    if as_json:
        print_json(
            document(job)
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
            }
        )
        return
    typer.echo(describe(job))
    for name, value in document(job).items():
        if value is not None and name not in ("id", "state"):
            typer.echo(f"  {name:<18} {_moment(value) if isinstance(value, datetime) else value}")
    if found:
        typer.echo(
            f"\n{total} failed" if total == len(found) else f"\n{total} failed, of which the first {len(found)}:"
        )
        print_table(
            ("pack", "location", "code", "attempts", "message"),
            [(each.pack_id, each.location, each.code.value, str(each.attempts), each.message) for each in found],
        )


@app.command(name="watch")
def watch_job(job_id: JobId, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """Follow a job to its end. Ctrl-C detaches and leaves it running."""
    with calling(tenant) as caller:
        follow(caller, job_id, as_json=as_json)


@app.command(name="pause")
def pause_job(job_id: JobId, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """Stop a job that renders where it is; edits go on being rendered."""
    from resolvers import jobs

    with calling(tenant) as caller:
        _tell(jobs.pause_job(caller, job_id), as_json=as_json)


@app.command(name="resume")
def resume_job(job_id: JobId, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """Go on with a paused job."""
    from resolvers import jobs

    with calling(tenant) as caller:
        _tell(jobs.resume_job(caller, job_id), as_json=as_json)


@app.command(name="activate")
def activate_job(
    job_id: JobId,
    accept_failures: Annotated[
        bool, typer.Option("--accept-failures", help="Although what failed will be missing from what goes live.")
    ] = False,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Let a prepared change go live that waits for a person because something could not be rendered."""
    from resolvers import jobs

    with calling(tenant) as caller:
        _tell(jobs.activate_job(caller, job_id, accept_failures=accept_failures), as_json=as_json)


@app.command(name="cancel")
def cancel_job(job_id: JobId, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """End a job that renders, or an import. What it made stays; a change that it prepares never goes live."""
    from resolvers import jobs

    with calling(tenant) as caller:
        _tell(jobs.cancel_job(caller, job_id), as_json=as_json)


@app.command(name="retry")
def retry_job(job_id: JobId, tenant: OfTenant = None, as_json: AsJson = False) -> None:
    """Try once more what a job could not render."""
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
    """Return so many of a job's failures, and how many there are."""
    from packshot.catalog.pages import LARGEST_PAGE
    from resolvers import jobs

    found: list[Failure] = []
    after, more, total = None, True, 0
    while more and len(found) < wanted:
        page = jobs.list_failures(caller, job_id, first=min(wanted - len(found), LARGEST_PAGE), after=after)
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
