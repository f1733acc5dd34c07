"""Plan, make and revert a change of a location."""

from typing import TYPE_CHECKING, Annotated

import typer

from serve.commands import following, plans
from serve.commands import location_options as options
from serve.commands.endings import REFUSED
from serve.commands.locations import document
from serve.commands.shell import AsJson, OfTenant, calling, print_json
from serve.rest import plan_documents

if TYPE_CHECKING:
    from collections.abc import Callable

    from packshot.variants.change_plan import ForceRequired
    from resolvers.caller import Caller
    from resolvers.changing.decision import Consent
    from resolvers.locations import LocationChange

app = typer.Typer()

Force = Annotated[bool, typer.Option("--force", help="Make the change although it alters images that packs show.")]
Immediate = Annotated[
    bool,
    typer.Option(
        "--immediate", help="Activate at once and render on demand, instead of when all variants are rendered."
    ),
]
Watch = Annotated[
    bool, typer.Option("--watch", help="Follow the job until it ends. Ctrl-C stops following, not the job.")
]
Expected = Annotated[
    int | None, typer.Option("--expected-version", help="Refuse the change if the location has another version.")
]


@app.command(name="plan")
def plan_location(
    name: options.Name,
    label: options.Label = None,
    width: options.Width = None,
    height: options.Height = None,
    fallback: options.Fallback = None,
    no_fallback: options.NoFallback = False,
    gravity: options.GravityOption = None,
    include_all: options.IncludeAllOption = None,
    allow_upscale: options.AllowUpscale = None,
    formats: options.Formats = None,
    renditions: options.Renditions = None,
    clear: options.Clear = None,
    samples: Annotated[
        int, typer.Option(min=0, max=16, help="Number of packs to draw before and after the change.")
    ] = 4,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Show what a change would alter and cost. It changes nothing, and stores the samples that it draws."""
    from resolvers.changing import plans as planning

    given = options.LocationOptions(
        label, width, height, fallback, no_fallback, gravity, include_all, allow_upscale, formats, renditions, clear
    )
    changes = given.changes()
    with calling(tenant) as caller:
        plan = planning.plan_location(caller, name, changes)
        drawn = plans.draw_samples(caller, plan, samples)
    if as_json:
        print_json(plan_documents.document(plan, drawn))
    else:
        plans.print_plan(plan, drawn)


@app.command(name="put")
def put_location(
    name: options.Name,
    label: options.Label = None,
    width: options.Width = None,
    height: options.Height = None,
    fallback: options.Fallback = None,
    no_fallback: options.NoFallback = False,
    gravity: options.GravityOption = None,
    include_all: options.IncludeAllOption = None,
    allow_upscale: options.AllowUpscale = None,
    formats: options.Formats = None,
    renditions: options.Renditions = None,
    clear: options.Clear = None,
    force: Force = False,
    plan: Annotated[
        str | None,
        typer.Option(metavar="ID", help="Refuse the change if this plan is for another change or no longer holds."),
    ] = None,
    immediate: Immediate = False,
    expected_version: Expected = None,
    watch: Watch = False,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Create or change a location.

    A change that alters images that packs show needs --force. Without it, the plan is printed, and the command exits 1.
    """
    from resolvers import locations

    given = options.LocationOptions(
        label, width, height, fallback, no_fallback, gravity, include_all, allow_upscale, formats, renditions, clear
    )
    changes = given.changes()
    with calling(tenant) as caller:
        _change(
            caller,
            lambda: locations.put_location(
                caller, name, changes, _consent(force, plan, immediate), expected_version=expected_version
            ),
            watch=watch,
            as_json=as_json,
        )


@app.command(name="rollback")
def rollback_location(
    name: options.Name,
    to: Annotated[int, typer.Option(metavar="VERSION", help="A version from `location history`.")],
    force: Force = False,
    immediate: Immediate = False,
    expected_version: Expected = None,
    watch: Watch = False,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Revert a location to an earlier version. Stored variants of that version are reused."""
    from resolvers import locations

    with calling(tenant) as caller:
        _change(
            caller,
            lambda: locations.rollback_location(
                caller, name, to, _consent(force, None, immediate), expected_version=expected_version
            ),
            watch=watch,
            as_json=as_json,
        )


def _consent(force: bool, plan_id: str | None, immediate: bool) -> "Consent":
    from resolvers.changing.decision import Activation, Consent

    return Consent(force, plan_id, Activation.IMMEDIATE if immediate else Activation.WHEN_READY)


def _change(caller: "Caller", act: "Callable[[], LocationChange]", *, watch: bool, as_json: bool) -> None:
    from packshot.variants.change_plan import ForceRequired

    try:
        changed = act()
    except ForceRequired as error:
        _show_refused(error, as_json=as_json)
        raise typer.Exit(REFUSED) from None
    if watch and changed.job is not None:
        following.follow(caller, changed.job.id, as_json=as_json)
    _show_changed(changed, as_json=as_json)


def _show_refused(error: "ForceRequired", *, as_json: bool) -> None:
    if as_json:
        print_json({"code": error.code.value, "message": error.message, "plan": plan_documents.document(error.plan)})
    else:
        plans.print_plan(error.plan)
    typer.echo(f"{error.message} To make the change: --force --plan {error.plan.id}", err=True)


def _show_changed(changed: "LocationChange", *, as_json: bool) -> None:
    location, job = changed.location, changed.job
    if as_json:
        print_json(
            {
                "location": document(location),
                "job": None if job is None else following.document(job),
                "plan": None if changed.plan is None else plan_documents.document(changed.plan),
            }
        )
        return
    typer.echo(f"{location.name} is at version {location.version}.")
    if job is not None:
        what = "The change goes live when it is rendered" if job.activated_at is None else "The change is live"
        typer.echo(f"{what}: {following.describe(job)}\n`packshot jobs watch job:{job.id}` follows it.")
