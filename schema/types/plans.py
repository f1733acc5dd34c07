"""GraphQL types of change plans: the cost of a change of configuration, before it is made."""

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


@strawberry.type(
    description="A field that would change. Values are texts; the items of a list are separated by commas."
)
class FieldChange:
    field: str = strawberry.field(description="Its name.")
    before: str | None = strawberry.field(description="The present value; null: unset.")
    after: str | None = strawberry.field(description="The value after the change; null: unset.")
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


@strawberry.type(description="The image of one pack before and after the change.")
class PlanSample:
    before: URL | None = strawberry.field(description="Immutable URL of the present image; null: none is shown.")
    after: URL = strawberry.field(description="Immutable URL of the image after the change, which is rendered already.")
    pack_id: strawberry.Private[str]

    @strawberry.field(description="The pack.")
    async def pack(self, info: Info) -> Pack:
        snapshot = await info.context.loaders.snapshots.load(self.pack_id)
        if snapshot is None:
            raise LookupError(f"pack {self.pack_id} was deleted in the meantime")
        return Pack.of(snapshot.pack)


@strawberry.type(
    description="The cost of a change of a location. It is exact for up to 512 packs, or shapes of packs. Beyond that "
    "it is estimated "
    "from the most common shapes and a sample of the others."
)
class LocationPlan:
    id: strawberry.ID = strawberry.field(
        description="For `planId` of `putLocation`, which then makes exactly the planned change or none."
    )
    name: str = strawberry.field(description="The location's name; of a change of tenant defaults, the tenant's.")
    base_version: int | None = strawberry.field(
        description="The version that the change starts from; null: the location would be created."
    )
    requires_force: bool = strawberry.field(description="Whether the change is refused without `force`.")
    changes: list[FieldChange] = strawberry.field(description="The fields that would change; empty: none.")
    packs: int = strawberry.field(
        description="Number of packs with at least one changed or new image, including images shown through a fallback."
    )
    render: Long = strawberry.field(description="Number of variants to render.")
    reuse: Long = strawberry.field(description="Number of variants that the change needs and that are still stored.")
    upscaled: int = strawberry.field(
        description="Number of pack locations whose image would be enlarged beyond its own pixels."
    )
    cpu_seconds: float = strawberry.field(
        description="CPU seconds to render them, estimated from recent renders of this installation."
    )
    wall_seconds: float = strawberry.field(
        description="The CPU seconds divided among the render processes that this installation's process gives to "
        "bulk work; "
        "more workers take less time."
    )
    bytes: Long = strawberry.field(description="Size of the variants to render, estimated from recent renders.")
    purge_requests: int = strawberry.field(
        description="Number of purge requests to the CDN: one tag when the change goes live, and once more after that."
    )
    expires_at: datetime = strawberry.field(description="When the plan expires.")
    core: strawberry.Private[change_plan.ChangePlan]

    @strawberry.field(
        description="Some packs before and after the change: of different shapes, last modified first. They are "
        "rendered for this response. "
        "Packs that cannot be rendered are left out."
    )
    async def samples(
        self,
        info: Info,
        first: Annotated[int, strawberry.argument(description=f"Number of samples, 1 to {plans.MAX_SAMPLES}.")] = 4,
    ) -> list[PlanSample]:
        caller = info.context.caller
        with refusing():
            # The response waits for the samples, which may take long.
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


@strawberry.type(description="The change alters images that packs show. Send it again with `force` to make it.")
class ForceRequired(UserError):
    plan: LocationPlan = strawberry.field(description="The plan of the refused change.")


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
