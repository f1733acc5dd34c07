"""The tenant's on-demand policy, applied when a request becomes a variant plan. All functions are pure.

The policy never affects variants of the tenant's own configuration: planned variants, and the `src` of a
`<picture>` element.

- ANY: every request is rendered as it is.
- STEPS: sizes, quality, blur and other numbers snap to `packshot.variants.steps`.
- RENDITIONS: other requests are refused.
- SIGNED: other requests need a valid signature or an access key.
"""

from collections.abc import Iterator, Mapping
from fractions import Fraction

from packshot.errors import Forbidden
from packshot.geometry import Size
from packshot.model import Location, OnDemand
from packshot.variants.draft import Draft, PackLocationView, asked_size, draft, offered_plans, planned_drafts, region_of
from packshot.variants.plan import Plan
from packshot.variants.request import RequestForm
from packshot.variants.steps import boxes_giving, exact_sizes, snap

# Number of sizes that a refusal lists.
_MAX_NAMED = 12


def permitted(
    policy: OnDemand,
    look: PackLocationView,
    form: RequestForm,
    drafted: Draft,
    limit: Size,
    *,
    locations: Mapping[str, Location],
    offered_by: PackLocationView,
    opened: bool,
) -> Draft:
    """Return what a request gives under the policy.

    Args:
        drafted: the variant under the policy ANY.
        locations: all locations of the tenant; their sizes are steps.
        offered_by: the view without what only live URLs can request.
        opened: the request has an access key or a valid signature.

    Raises:
        Forbidden: the policy refuses it.
    """
    if policy is OnDemand.ANY or drafted.plan in offered_plans(offered_by, limit):
        return drafted
    if policy is OnDemand.STEPS:
        region, mode = region_of(look, form), drafted.plan.mode
        box = snap(asked_size(form, look.config), region, mode, exact_sizes(locations), limit)
        return draft(look, form, limit, drafted.plan.format, snapped=box)
    check_plan(policy, drafted.plan, offered_by, limit, opened=opened)
    return drafted


def check_plan(policy: OnDemand, plan: Plan, look: PackLocationView, limit: Size, *, opened: bool) -> None:
    """Refuse a variant plan that the policy RENDITIONS or SIGNED does not allow.

    Raises:
        Forbidden: it is not planned, and the request has no access key or signature.
    """
    if plan in offered_plans(look, limit) or policy in (OnDemand.ANY, OnDemand.STEPS):
        return
    if policy is OnDemand.SIGNED:
        if opened:
            return
        raise Forbidden(
            "Only planned variants are public here; other variants need a signed URL.",
            expected=f"expires and signature, as signUrl makes them, or {_planned(look, limit)}",
            got=str(plan),
        )
    raise Forbidden("Only planned variants are available here.", expected=_planned(look, limit), got=str(plan))


def _planned(look: PackLocationView, limit: Size) -> str:
    plans = [drafted.plan for drafted in planned_drafts(look, limit)]
    sizes = sorted({(plan.width, plan.height) for plan in plans})
    named = [f"{width}x{height}" for width, height in sizes[:_MAX_NAMED]]
    formats = sorted({plan.format.value for plan in plans})
    return f"{', '.join(named)}{', …' if len(sizes) > _MAX_NAMED else ''} in {', '.join(formats)}"


def drafts_giving(
    plan: Plan, look: PackLocationView, form: RequestForm, limit: Size, locations: Mapping[str, Location]
) -> Iterator[Draft]:
    """Yield the requests under STEPS that may have led to a variant plan.

    Args:
        form: everything in the plan except its size.
    """
    config = look.config
    exact, region = exact_sizes(locations), region_of(look, form)
    own = Fraction(config.width, config.height) if config.width and config.height else None
    for box in boxes_giving(Size(plan.width, plan.height), region, plan.mode, exact, own, limit):
        yield draft(look, form, limit, plan.format, snapped=box)
