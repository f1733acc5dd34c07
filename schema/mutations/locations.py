"""Mutations of tenant defaults and of locations."""

from typing import Annotated

import strawberry

from packshot.model import LOCATION_FIELDS, FieldEffect
from resolvers import locations, tenants
from resolvers.caller import Caller, Scope
from resolvers.changing.decision import Consent
from resolvers.locations import LocationChange
from schema.base.enums import Activation, core
from schema.base.inputs import given
from schema.execution.scopes import Needs
from schema.mutations.payloads import (
    DeleteLocationPayload,
    ExpectedVersion,
    IdempotencyKey,
    LocationPayload,
    TenantPayload,
    payload,
)
from schema.request.context import Info
from schema.types.jobs import Job
from schema.types.locations import ImageLocation, LocationInput, RenditionInput, location_id
from schema.types.plans import LocationPlan
from schema.types.tenants import Tenant, TenantInput

IMAGE_FIELDS = ", ".join(field.api_name for field in LOCATION_FIELDS.values() if field.effect is FieldEffect.IMAGES)
LocationName = Annotated[str, strawberry.argument(description="Name of the location.")]
Force = Annotated[
    bool,
    strawberry.argument(
        description="Make the change although it alters images that packs show. Without it, the error has the plan."
    ),
]
When = Annotated[Activation, strawberry.argument(description="When a change that alters images goes live.")]


@strawberry.type
class LocationMutation:
    @strawberry.mutation(
        description="Change the tenant's defaults. If packs show any image, the change needs force, and goes live "
        "once every pack is "
        "rendered.",
        extensions=[Needs(Scope.LOCATIONS_WRITE)],
    )
    async def update_tenant(
        self,
        info: Info,
        input: Annotated[TenantInput, strawberry.argument(description="The defaults to set.")],
        force: Force = False,
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> TenantPayload | None:
        def act(caller: Caller) -> TenantPayload:
            expected = given(expected_version)
            tenant, job = tenants.update_tenant(caller, input.values(), force=force, expected_version=expected)
            return TenantPayload(tenant=Tenant.of(tenant), job=None if job is None else Job.of(job))

        return await payload(info, TenantPayload, act, under=("input",), key=idempotency_key)

    @strawberry.mutation(
        description="Create or change a location. "
        f"A change of {IMAGE_FIELDS} alters images that packs show: it needs force, and is prepared "
        "beside the live configuration. A change of other fields goes live at once. Absent fields keep their value, or "
        "the pending one.",
        extensions=[Needs(Scope.LOCATIONS_WRITE)],
    )
    async def put_location(
        self,
        info: Info,
        input: Annotated[LocationInput, strawberry.argument(description="The fields to set.")],
        force: Force = False,
        plan_id: Annotated[
            strawberry.ID | None,
            strawberry.argument(
                description="A plan from `planLocation`. The change is refused if the plan is for another change or "
                "no longer holds, even if "
                "no force is needed."
            ),
        ] = strawberry.UNSET,
        activation: When = Activation.WHEN_READY,
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> LocationPayload | None:
        def act(caller: Caller) -> LocationPayload:
            consent = Consent(force, given(plan_id), core(activation))
            expected = given(expected_version)
            return _payload(
                locations.put_location(caller, input.name, input.changes(), consent, expected_version=expected)
            )

        return await payload(info, LocationPayload, act, under=("input",), key=idempotency_key)

    @strawberry.mutation(
        description="Revert a location to an earlier version. Until the `freeUntil` of that version, only packs that "
        "were edited or "
        "created since are rendered.",
        extensions=[Needs(Scope.LOCATIONS_WRITE)],
    )
    async def rollback_location(
        self,
        info: Info,
        name: LocationName,
        to_version: Annotated[
            int, strawberry.argument(description="The version to revert to, from the location's history.")
        ],
        force: Force = False,
        activation: When = Activation.WHEN_READY,
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> LocationPayload | None:
        def act(caller: Caller) -> LocationPayload:
            consent = Consent(force, activation=core(activation))
            expected = given(expected_version)
            return _payload(locations.rollback_location(caller, name, to_version, consent, expected_version=expected))

        return await payload(info, LocationPayload, act, key=idempotency_key)

    @strawberry.mutation(
        description="Delete a location. If packs or other locations use it, the deletion needs force, and the error "
        "lists them.",
        extensions=[Needs(Scope.LOCATIONS_WRITE)],
    )
    async def delete_location(
        self,
        info: Info,
        name: LocationName,
        force: Annotated[bool, strawberry.argument(description="Delete the location although it is in use.")] = False,
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> DeleteLocationPayload | None:
        def act(caller: Caller) -> DeleteLocationPayload:
            job = locations.delete_location(caller, name, force=force, expected_version=given(expected_version))
            return DeleteLocationPayload(
                deleted_id=location_id(name), deleted_name=name, job=None if job is None else Job.of(job)
            )

        return await payload(info, DeleteLocationPayload, act, key=idempotency_key)

    @strawberry.mutation(
        description="Add a size that a location renders ahead of time. A rendition that exists changes nothing.",
        extensions=[Needs(Scope.LOCATIONS_WRITE)],
    )
    async def add_rendition(
        self,
        info: Info,
        location: LocationName,
        rendition: Annotated[RenditionInput, strawberry.argument(description="The size.")],
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> LocationPayload | None:
        def act(caller: Caller) -> LocationPayload:
            return _payload(locations.add_rendition(caller, location, rendition.to_core()))

        return await payload(info, LocationPayload, act, key=idempotency_key)


def _payload(changed: LocationChange) -> LocationPayload:
    return LocationPayload(
        location=ImageLocation.of(changed.location),
        plan=None if changed.plan is None else LocationPlan.of(changed.plan),
        job=None if changed.job is None else Job.of(changed.job),
    )
