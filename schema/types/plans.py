"""Plans: what a change of configuration would cost, before anybody makes it."""

from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

import strawberry

from packshot import model
from packshot.variants import change_plan
from resolvers.changing import plans, samples
from schema.base.interfaces import UserError
from schema.base.refusals import field_path, refusing, run_in
from schema.base.scalars import URL, Long
from schema.request.context import Info
from schema.types.packs import Pack


@strawberry.type(description="One field that would change. Values are spelled as in a document, a list with commas.")
class FieldChange:
    field: str = strawberry.field(description="Its name.")
    before: str | None = strawberry.field(description="What it is; null: unset.")
    after: str | None = strawberry.field(description="What it would be; null: unset.")
    requires_force: bool = strawberry.field(description="Whether the change of this field needs `force`.")

    @classmethod
    def of(cls, change: change_plan.FieldChange) -> "FieldChange":
        (name,) = field_path((change.field,))
        return cls(
            field=name,
            before=_spelled(change.before),
            after=_spelled(change.after),
            requires_force=change.requires_force,
        )


@strawberry.type(description="What one pack shows now, and what it would show.")
class PlanSample:
    before: URL | None = strawberry.field(description="What it shows now; immutable. Null: nothing.")
    after: URL = strawberry.field(description="What it would show; immutable, and rendered already.")
    pack_id: strawberry.Private[str]

    @strawberry.field(description="The pack.")
    async def pack(self, info: Info) -> Pack:
        snapshot = await info.context.loaders.snapshots.load(self.pack_id)
        if snapshot is None:
            raise LookupError(f"pack {self.pack_id} was deleted meanwhile")
        return Pack.of(snapshot.pack)


@strawberry.type(
    description="What a change would cost. Exact for up to 512 packs, or shapes of packs; beyond that estimated "
    "from the commonest shapes and a sample of the others."
)
class LocationPlan:
    id: strawberry.ID = strawberry.field(
        description="For `planId` of `putLocation`, which then changes nothing but what was planned here."
    )
    name: str = strawberry.field(description="The location's name; of a change of tenant defaults, the tenant's.")
    base_version: int | None = strawberry.field(
        description="The version that would be changed; null: the location would be created."
    )
    requires_force: bool = strawberry.field(description="Whether the change is refused without `force`.")
    changes: list[FieldChange] = strawberry.field(description="What differs; empty: nothing would change.")
    packs: int = strawberry.field(
        description="Packs of which any picture changes or is new, by a fallback to the location too."
    )
    render: Long = strawberry.field(description="Variants to be rendered.")
    reuse: Long = strawberry.field(description="Variants that the change needs and that are still stored.")
    upscaled: int = strawberry.field(
        description="Pictures of these packs, one a location, that would be enlarged beyond their own pixels."
    )
    cpu_seconds: float = strawberry.field(
        description="CPU time of rendering them, by what it took of late on this installation."
    )
    wall_seconds: float = strawberry.field(
        description="The same, shared by as many render processes as this one leaves to bulk work; "
        "more workers take less."
    )
    bytes: Long = strawberry.field(description="What the rendered variants will take up, by what they took of late.")
    purge_requests: int = strawberry.field(
        description="Requests to a CDN: one tag, when the change goes live and once more after that."
    )
    expires_at: datetime = strawberry.field(description="Until when the id is good.")
    core: strawberry.Private[change_plan.ChangePlan]

    @strawberry.field(
        description="Some packs before and after, of different shapes, last modified first; drawn for this answer. "
        "Packs that cannot be rendered are left out."
    )
    async def samples(
        self,
        info: Info,
        first: Annotated[int, strawberry.argument(description=f"How many, 1 to {plans.MAX_SAMPLES}.")] = 4,
    ) -> list[PlanSample]:
        caller = info.context.caller
        with refusing():
            # Drawn before the answer is given, so it may take long.
            drawn = await run_in(info, info.context.threads.rendering, samples.draw_samples, caller, self.core, first)
        return [
            PlanSample(
                pack_id=sample.pack_id,
                before=None if sample.before is None else URL(sample.before),
                after=URL(sample.after),
            )
            for sample in drawn
        ]

    @classmethod
    def of(cls, plan: change_plan.ChangePlan) -> "LocationPlan":
        return cls(
            id=strawberry.ID(plan.id),
            name=plan.name,
            base_version=plan.base_version,
            requires_force=plan.requires_force,
            changes=[FieldChange.of(change) for change in plan.changes],
            packs=plan.packs,
            render=Long(plan.render),
            reuse=Long(plan.reuse),
            upscaled=plan.upscaled,
            cpu_seconds=plan.cpu_seconds,
            wall_seconds=plan.wall_seconds,
            bytes=Long(plan.bytes),
            purge_requests=plan.purge_requests,
            expires_at=plan.expires_at,
            core=plan,
        )


@strawberry.type(description="The change alters pictures that are shown; with `force` it is made all the same.")
class ForceRequired(UserError):
    plan: LocationPlan = strawberry.field(description="What it would cost.")


def _spelled(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, model.Rendition):
        return f"{value.width or ''}x{value.height or ''}@{value.dpr:g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(filter(None, map(_spelled, value)))
    return str(value)
