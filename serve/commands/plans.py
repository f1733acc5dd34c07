"""Plans of a change of a location, as a person reads them and as a program does."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from packshot.model import Rendition
from serve.commands.shell import store_answering

if TYPE_CHECKING:
    from resolvers.caller import Caller
    from resolvers.plans import LocationPlan
    from resolvers.samples import Sample

# By the core's names: as options and as the admin API have them.
OPTIONS = {"resize_gravity": "gravity", "include_all": "include-all", "allow_upscale": "allow-upscale"}
FIELDS = {"resize_gravity": "resizeGravity", "include_all": "useResizeIncludeAll", "allow_upscale": "allowUpscale"}


def draw_samples(caller: "Caller", plan: "LocationPlan", wanted: int) -> list["Sample"]:
    """Draw what some packs would show before and after, and store it; ends where the store is away."""
    if not wanted or not plan.packs:
        return []
    from rich.console import Console

    from resolvers import samples

    with Console(stderr=True).status("drawing samples"), store_answering():
        return samples.draw_samples(caller, plan, wanted)


def print_plan(plan: "LocationPlan", samples: Sequence["Sample"] = ()) -> None:
    """Print what a change would do and cost."""
    version = "new" if plan.base_version is None else f"version {plan.base_version}"
    typer.echo(f"Plan for {plan.name} ({version}){', which needs --force' if plan.requires_force else ''}")
    for change in plan.changes:
        name = OPTIONS.get(change.field, change.field)
        forced = "  (needs --force)" if change.requires_force else ""
        typer.echo(f"  {name:<14} {spell(change.before)} -> {spell(change.after)}{forced}")
    if not plan.changes:
        typer.echo("  nothing changes")
    costs = {
        "packs": f"{plan.packs:,}",
        "to render": f"{plan.render:,} variants, about {_size(plan.bytes)}",
        "to reuse": f"{plan.reuse:,} variants that are there already",
        "upscaled": f"{plan.upscaled:,} pictures, beyond their own pixels",
        "takes": f"about {_span(plan.wall_seconds)}, {_span(plan.cpu_seconds)} of CPU",
        "purges": f"{plan.purge_requests} requests",
    }
    for name, cost in costs.items():
        typer.echo(f"  {name:<14} {cost}")
    for sample in samples:
        typer.echo(f"  pack {sample.pack_id}")
        typer.echo(f"    before {sample.before or 'nothing'}\n    after  {sample.after}")
    typer.echo(f"  plan id        {plan.id}  (good until {plan.expires_at:%Y-%m-%d %H:%M} UTC)")
    sys.stdout.flush()


def document(plan: "LocationPlan", samples: Sequence["Sample"] | None = None) -> dict[str, Any]:
    """Return a plan as JSON has it, with the names of the admin API."""
    found = {
        "id": plan.id,
        "name": plan.name,
        "baseVersion": plan.base_version,
        "requiresForce": plan.requires_force,
        "changes": [
            {
                "field": FIELDS.get(change.field, change.field),
                "before": plain(change.before),
                "after": plain(change.after),
                "requiresForce": change.requires_force,
            }
            for change in plan.changes
        ],
        "packs": plan.packs,
        "render": plan.render,
        "reuse": plan.reuse,
        "upscaled": plan.upscaled,
        "cpuSeconds": plan.cpu_seconds,
        "wallSeconds": plan.wall_seconds,
        "bytes": plan.bytes,
        "purgeRequests": plan.purge_requests,
        "expiresAt": plan.expires_at,
    }
    if samples is None:
        return found
    drawn = [{"packId": each.pack_id, "before": each.before, "after": each.after} for each in samples]
    return found | {"samples": drawn}


def plain(value: Any) -> Any:
    """Return a field's value as JSON has it."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, Rendition):
        return {"width": value.width, "height": value.height, "dpr": value.dpr}
    return value.upper() if hasattr(value, "value") else value


def spell(value: Any) -> str:
    """Return a field's value as an option would say it."""
    if value is None:
        return "unset"
    if isinstance(value, tuple):
        return ",".join(spell(item) for item in value)
    if isinstance(value, Rendition):
        dpr = "" if value.dpr == 1 else f"@{value.dpr:g}"
        return f"{value.width or ''}x{value.height or ''}{dpr}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
