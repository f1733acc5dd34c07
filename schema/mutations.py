"""What can be changed. Every payload is nullable, so that one failing alias does not null the others."""

from typing import Annotated

import strawberry

from packshot.errors import NotFound
from resolvers import jobs, locations, packs, uploads
from resolvers.caller import Caller, Scope
from schema.context import Info
from schema.enums import Activation, Priority, RegenerateMode, core
from schema.inputs import given
from schema.jobs import Job, JobScope
from schema.locations import ImageLocation, LocationInput
from schema.pack_inputs import CropInput, PackInput
from schema.packs import Pack, PackLocation
from schema.payloads import (
    ExpectedVersion,
    IdempotencyKey,
    JobPayload,
    LocationPayload,
    PackLocationPayload,
    PackPayload,
    UploadPayload,
    payload,
)
from schema.scopes import Needs
from schema.uploads import OriginalSource, Upload, UploadInput

PackId = Annotated[strawberry.ID, strawberry.argument(description="The pack's id.")]
LocationName = Annotated[str, strawberry.argument(description="The location's name.")]


@strawberry.type(description="What can be changed. Refusals come as `userErrors`; nothing is changed then.")
class Mutation:
    @strawberry.mutation(
        description="Create or change a location. For now every change goes live at once and needs no force; "
        "the fallback renders what is not ready yet.",
        extensions=[Needs(Scope.LOCATIONS_WRITE)],
    )
    async def put_location(
        self,
        info: Info,
        input: Annotated[LocationInput, strawberry.argument(description="What to set.")],
        force: Annotated[
            bool, strawberry.argument(description="Let a change of packs in use happen. For now it always does.")
        ] = False,
        activation: Annotated[
            Activation, strawberry.argument(description="When it goes live. For now always at once.")
        ] = Activation.WHEN_READY,
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> LocationPayload | None:
        def act(caller: Caller) -> LocationPayload:
            location, job = locations.put_location(
                caller, input.name, input.changes(), expected_version=given(expected_version)
            )
            return LocationPayload(location=ImageLocation.of(location), job=None if job is None else Job.of(job))

        return await payload(info, LocationPayload, act, under=("input",), key=idempotency_key)

    @strawberry.mutation(
        description="Make a pack; it has nothing to show until an original is set.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def create_pack(
        self,
        info: Info,
        input: Annotated[PackInput | None, strawberry.argument(description="What to set.")] = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> PackPayload | None:
        def act(caller: Caller) -> PackPayload:
            asked = given(input)
            return PackPayload(pack=Pack.of(packs.create_pack(caller, {} if asked is None else asked.values()).pack))

        return await payload(info, PackPayload, act, under=("input",), key=idempotency_key)

    @strawberry.mutation(
        description="Announce an upload and learn where to send its bytes.", extensions=[Needs(Scope.UPLOADS_WRITE)]
    )
    async def create_upload(
        self,
        info: Info,
        input: Annotated[UploadInput, strawberry.argument(description="What will be uploaded.")],
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> UploadPayload | None:
        def act(caller: Caller) -> UploadPayload:
            upload, token = uploads.create_upload(
                caller, media_type=input.media_type, size=input.bytes, sha256=given(input.sha256)
            )
            return UploadPayload(upload=Upload.of(upload, token, caller.origin))

        return await payload(info, UploadPayload, act, under=("input",), key=idempotency_key)

    @strawberry.mutation(
        description="Make an upload a pack location's original. A picture that cannot be rendered is refused here. "
        "Crop and focus stay.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def set_original(
        self,
        info: Info,
        pack_id: PackId,
        location: LocationName,
        source: Annotated[OriginalSource, strawberry.argument(description="Where the bytes are.")],
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> PackLocationPayload | None:
        def act(caller: Caller) -> PackLocationPayload:
            assert source.upload_id is not None
            upload_id, expected = source.upload_id.value, given(expected_version)
            snapshot, job = uploads.set_original(caller, pack_id, location, upload_id, expected_version=expected)
            slot = PackLocation.of(snapshot, location)
            return PackLocationPayload(pack_location=slot, pack=slot.pack, job=Job.of(job))

        return await payload(info, PackLocationPayload, act, key=idempotency_key, patient=True)

    @strawberry.mutation(
        description="Set the crop of one pack location; the full rectangle says there is none.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def set_crop(
        self,
        info: Info,
        pack_id: PackId,
        location: LocationName,
        crop: Annotated[CropInput, strawberry.argument(description="The rectangle to show.")],
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> PackLocationPayload | None:
        def act(caller: Caller) -> PackLocationPayload:
            expected = given(expected_version)
            snapshot, job = packs.set_crop(caller, pack_id, location, crop.to_core(), expected_version=expected)
            slot = PackLocation.of(snapshot, location)
            return PackLocationPayload(pack_location=slot, pack=slot.pack, job=Job.of(job))

        return await payload(info, PackLocationPayload, act, key=idempotency_key)

    @strawberry.mutation(
        description="Order what is missing to be rendered; what failed before is tried again.",
        extensions=[Needs(Scope.JOBS_WRITE)],
    )
    async def regenerate(
        self,
        info: Info,
        scope: Annotated[JobScope, strawberry.argument(description="Of which packs and locations.")],
        mode: Annotated[RegenerateMode, strawberry.argument(description="What to render.")] = RegenerateMode.MISSING,
        priority: Annotated[Priority, strawberry.argument(description="Who waits for it.")] = Priority.BULK,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> JobPayload | None:
        def act(caller: Caller) -> JobPayload:
            urgency = core(priority)
            if scope.pack_ids is not None:
                return JobPayload(job=Job.of(jobs.regenerate_packs(caller, scope.pack_ids.value, urgency)))
            if scope.tenant is not None:
                _check_tenant(caller, scope.tenant.value)
            location = None if scope.location is None else scope.location.value
            return JobPayload(job=Job.of(jobs.regenerate_tenant(caller, location, urgency)))

        return await payload(info, JobPayload, act, key=idempotency_key)


def _check_tenant(caller: Caller, tenant_id: str) -> None:
    own = f"tenant:{caller.tenant}"
    if tenant_id != own:
        # Another tenant's name answers like one that nobody has.
        raise NotFound("There is no such tenant.", field=("scope", "tenant"), expected=own, got=tenant_id)
