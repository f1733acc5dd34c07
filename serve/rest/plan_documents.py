"""Plans of a change of a location as JSON has them."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from packshot.model import Rendition

if TYPE_CHECKING:  # Commands that need neither start faster without them.
    from packshot.variants.change_plan import ChangePlan
    from resolvers.changing.samples import Sample

# By the core's names: as the admin API has them.
FIELDS = {"resize_gravity": "resizeGravity", "include_all": "useResizeIncludeAll", "allow_upscale": "allowUpscale"}


def document(
    plan: "ChangePlan", samples: Sequence["Sample"] | None = None, *, spell: Callable[[Any], Any] | None = None
) -> dict[str, Any]:
    """Return a plan as JSON has it, with the names of the admin API.

    Args:
        spell: how a field's value is spelled; `plain` if not given.
    """
    spell = spell or plain
    found = {
        "id": plan.id,
        "name": plan.name,
        "baseVersion": plan.base_version,
        "requiresForce": plan.requires_force,
        "changes": [
            {
                "field": FIELDS.get(change.field, change.field),
                "before": spell(change.before),
                "after": spell(change.after),
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
