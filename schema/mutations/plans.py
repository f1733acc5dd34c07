"""The mutation that plans: it changes nothing, but what it draws as samples is stored."""

from typing import Annotated

import strawberry

from resolvers.caller import Caller, Scope
from resolvers.changing import plans
from schema.execution.scopes import Needs
from schema.mutations.payloads import PlanPayload, payload
from schema.request.context import Info
from schema.types.locations import LocationInput
from schema.types.plans import LocationPlan


@strawberry.type
class PlanMutation:
    @strawberry.mutation(
        description="Say what a `putLocation` with this input would cost, and change nothing.",
        extensions=[Needs(Scope.LOCATIONS_WRITE)],
    )
    async def plan_location(
        self,
        info: Info,
        input: Annotated[LocationInput, strawberry.argument(description="What would be set.")],
    ) -> PlanPayload | None:
        def act(caller: Caller) -> PlanPayload:
            return PlanPayload(plan=LocationPlan.of(plans.plan_location(caller, input.name, input.changes())))

        return await payload(info, PlanPayload, act, under=("input",))
