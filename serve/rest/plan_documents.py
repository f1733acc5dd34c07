"""The JSON document of a change plan."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from packshot.model import LOCATION_FIELDS, Rendition

if TYPE_CHECKING:  # Commands that need neither start faster without them.
    from packshot.variants.change_plan import ChangePlan
    from resolvers.changing.samples import Sample


def document(
    plan: "ChangePlan", samples: Sequence["Sample"] | None = None, *, spell: Callable[[Any], Any] | None = None
) -> dict[str, Any]:
    """Return the JSON document of a plan, with the field names of the admin API.

    Args:
        spell: converts the value of a field; `plain` by default.
    """
    spell = spell or plain
    found = {
        "id": plan.id,
        "name": plan.name,
        "baseVersion": plan.base_version,
        "requiresForce": plan.requires_force,
        "changes": [
            {
                "field": api_name(change.field),
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


def api_name(field: str) -> str:
    """Return the name that the admin API has for a field of a location or tenant."""
    return LOCATION_FIELDS[field].api_name if field in LOCATION_FIELDS else field


def plain(value: Any) -> Any:
    """Return the JSON value of a field."""
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, Rendition):
        return {"width": value.width, "height": value.height, "dpr": value.dpr}
    return value.upper() if hasattr(value, "value") else value
