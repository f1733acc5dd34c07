"""What can be changed. Every payload is nullable, so that one failing alias does not null the others."""

from typing import Annotated

import strawberry

from packshot.catalog.jobs import Job as CoreJob
from packshot.errors import NotFound
from packshot.model import Snapshot
from resolvers import imports, jobs, locations, originals, packs, previews, tenants, uploads, webhooks
from resolvers.caller import Caller, Scope
from schema.context import Info
from schema.enums import Activation, OnExisting, Priority, RegenerateMode, core
from schema.erasing import EraseMutation
from schema.inputs import given
from schema.jobs import Job, JobScope
from schema.locations import ImageLocation, LocationInput, RenditionInput, location_id
from schema.pack_inputs import CropInput, PackInput, PackLocationInput, PackLocationPatch
from schema.packs import Pack, PackLocation
from schema.payloads import (
    DeleteLocationPayload,
    DeletePackPayload,
    ExpectedVersion,
    IdempotencyKey,
    JobPayload,
    LocationPayload,
    PackLocationPayload,
    PackPayload,
    PacksPayload,
    TenantPayload,
    UploadPayload,
    WebhookPayload,
    payload,
)
from schema.planning import PlanMutation
from schema.scalars import URL
from schema.scopes import Needs
from schema.tenants import Tenant, TenantInput
from schema.uploads import OriginalSource, Upload, UploadInput
from schema.webhooks import Webhook

PackId = Annotated[strawberry.ID, strawberry.argument(description="The pack's id.")]
LocationName = Annotated[str, strawberry.argument(description="The location's name.")]


@strawberry.type(description="What can be changed. Refusals come as `userErrors`; nothing is changed then.")
class Mutation(EraseMutation, PlanMutation):
    @strawberry.mutation(
        description="Change what applies where nothing else is said. For now it goes live at once and needs no force.",
        extensions=[Needs(Scope.LOCATIONS_WRITE)],
    )
    async def update_tenant(
        self,
        info: Info,
        input: Annotated[TenantInput, strawberry.argument(description="What to change.")],
        force: Annotated[
            bool, strawberry.argument(description="Let a change of packs in use happen. For now it always does.")
        ] = False,
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> TenantPayload | None:
        def act(caller: Caller) -> TenantPayload:
            expected = given(expected_version)
            tenant, job = tenants.update_tenant(caller, input.values(), expected_version=expected)
            return TenantPayload(tenant=Tenant.of(tenant), job=None if job is None else Job.of(job))

        return await payload(info, TenantPayload, act, under=("input",), key=idempotency_key)

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
        description="Delete a location. One that packs or other locations use needs force, and the refusal says which.",
        extensions=[Needs(Scope.LOCATIONS_WRITE)],
    )
    async def delete_location(
        self,
        info: Info,
        name: LocationName,
        force: Annotated[bool, strawberry.argument(description="Delete it although it is used.")] = False,
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
        description="Have one more size of a location rendered ahead of time; one that is there changes nothing.",
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
            changed, job = locations.add_rendition(caller, location, rendition.to_core())
            return LocationPayload(location=ImageLocation.of(changed), job=None if job is None else Job.of(job))

        return await payload(info, LocationPayload, act, key=idempotency_key)

    @strawberry.mutation(
        description="Make a pack, with its originals or without; it has nothing to show until there is one.",
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
            snapshot, job = imports.create_pack(caller, imports.NewPack({}) if asked is None else asked.to_core())
            return PackPayload(pack=Pack.of(snapshot.pack), job=None if job is None else Job.of(job))

        return await payload(info, PackPayload, act, under=("input",), key=idempotency_key, patient=True)

    @strawberry.mutation(
        description="Make up to 100 packs with their originals: each succeeds or is refused by itself, in one "
        "transaction. Originals by URL are fetched by a job.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def create_packs(
        self,
        info: Info,
        inputs: Annotated[list[PackInput], strawberry.argument(description="The packs.")],
        on_existing: Annotated[
            OnExisting, strawberry.argument(description="What to do where the asset or external id is there already.")
        ] = OnExisting.FAIL,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> PacksPayload | None:
        def act(caller: Caller) -> PacksPayload:
            wanted = [input.to_core() for input in inputs]
            outcomes, job = imports.create_packs(caller, wanted, core(on_existing))
            return PacksPayload(outcomes=outcomes, job=None if job is None else Job.of(job))

        return await payload(info, PacksPayload, act, key=idempotency_key, patient=True)

    @strawberry.mutation(description="Change what holds for a whole pack.", extensions=[Needs(Scope.PACKS_WRITE)])
    async def update_pack(
        self,
        info: Info,
        id: PackId,
        input: Annotated[PackInput, strawberry.argument(description="What to change.")],
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> PackPayload | None:
        def act(caller: Caller) -> PackPayload:
            snapshot, job = packs.update_pack(caller, id, input.changes(), expected_version=given(expected_version))
            return PackPayload(pack=Pack.of(snapshot.pack), job=None if job is None else Job.of(job))

        return await payload(info, PackPayload, act, under=("input",), key=idempotency_key)

    @strawberry.mutation(
        description="Delete a pack. It is gone from the catalog at once; its immutable URLs live on for a while.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def delete_pack(
        self,
        info: Info,
        id: PackId,
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> DeletePackPayload | None:
        def act(caller: Caller) -> DeletePackPayload:
            packs.delete_pack(caller, id, expected_version=given(expected_version))
            return DeletePackPayload(deleted_id=id)

        return await payload(info, DeletePackPayload, act, key=idempotency_key)

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
            upload, _ = uploads.create_upload(
                caller,
                media_type=input.media_type,
                size=input.bytes,
                sha256=given(input.sha256),
                method=core(input.method),
            )
            return UploadPayload(upload=Upload.of(upload, uploads.find_ticket(caller, upload)))

        return await payload(info, UploadPayload, act, under=("input",), key=idempotency_key)

    @strawberry.mutation(
        description="Make an upload, or what an address gives, a pack location's original. A picture that cannot be "
        "rendered is refused here. Crop and focus stay.",
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
            came_from, expected = source.to_core(), given(expected_version)
            return _slot_payload(
                location, *originals.set_original(caller, pack_id, location, came_from, expected_version=expected)
            )

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
        dry_run: Annotated[
            bool, strawberry.argument(description="Change nothing; draw what it would look like, for `previewUrls`.")
        ] = False,
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> PackLocationPayload | None:
        def act(caller: Caller) -> PackLocationPayload:
            expected = given(expected_version)
            if dry_run:
                snapshot, urls = previews.preview_crop(
                    caller, pack_id, location, crop.to_core(), expected_version=expected
                )
                slot = PackLocation.of(snapshot, location)
                return PackLocationPayload(pack_location=slot, pack=slot.pack, preview_urls=[URL(url) for url in urls])
            patch = packs.SlotPatch(location, {"crop": crop.to_core()})
            return _slot_payload(location, *packs.edit_slot(caller, pack_id, patch, expected_version=expected))

        return await payload(info, PackLocationPayload, act, key=idempotency_key, patient=dry_run)

    @strawberry.mutation(
        description="Take a pack location's own original away; its crop and the rest stay.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def remove_original(
        self,
        info: Info,
        pack_id: PackId,
        location: LocationName,
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> PackLocationPayload | None:
        def act(caller: Caller) -> PackLocationPayload:
            expected = given(expected_version)
            return _slot_payload(location, *packs.remove_original(caller, pack_id, location, expected_version=expected))

        return await payload(info, PackLocationPayload, act, key=idempotency_key)

    @strawberry.mutation(description="Change one pack location.", extensions=[Needs(Scope.PACKS_WRITE)])
    async def update_pack_location(
        self,
        info: Info,
        pack_id: PackId,
        location: LocationName,
        input: Annotated[PackLocationInput, strawberry.argument(description="What to change.")],
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> PackLocationPayload | None:
        def act(caller: Caller) -> PackLocationPayload:
            patch = packs.SlotPatch(location, input.values(), at=("input",))
            return _slot_payload(
                location, *packs.edit_slot(caller, pack_id, patch, expected_version=given(expected_version))
            )

        return await payload(info, PackLocationPayload, act, key=idempotency_key)

    @strawberry.mutation(
        description="Change several locations of one pack, all or none.", extensions=[Needs(Scope.PACKS_WRITE)]
    )
    async def update_pack_locations(
        self,
        info: Info,
        pack_id: PackId,
        inputs: Annotated[
            list[PackLocationPatch], strawberry.argument(description="What to change, each location once.")
        ],
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> PackPayload | None:
        def act(caller: Caller) -> PackPayload:
            patches = [
                packs.SlotPatch(patch.location, patch.values(), at=("inputs", str(index)))
                for index, patch in enumerate(inputs)
            ]
            snapshot, job = packs.edit_slots(caller, pack_id, patches, expected_version=given(expected_version))
            return PackPayload(pack=Pack.of(snapshot.pack), job=Job.of(job))

        return await payload(info, PackPayload, act, key=idempotency_key)

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

    @strawberry.mutation(
        description="Have an address told what happens: pack.changed, variants.ready, job.finished.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def create_webhook(
        self,
        info: Info,
        url: Annotated[URL, strawberry.argument(description="Where to POST; a public address.")],
        events: Annotated[list[str], strawberry.argument(description="What to tell.")],
    ) -> WebhookPayload | None:
        def act(caller: Caller) -> WebhookPayload:
            webhook, secret = webhooks.create_webhook(caller, url, events)
            return WebhookPayload(webhook=Webhook.of(webhook), secret=secret)

        return await payload(info, WebhookPayload, act)

    @strawberry.mutation(
        description="Delete a webhook; what it was still to be told is forgotten.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def delete_webhook(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The webhook's id.")]
    ) -> WebhookPayload | None:
        def act(caller: Caller) -> WebhookPayload:
            return WebhookPayload(webhook=Webhook.of(webhooks.delete_webhook(caller, id.removeprefix("webhook:"))))

        return await payload(info, WebhookPayload, act)

    @strawberry.mutation(
        description="Tell a webhook something once more, with the same id and body.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def replay_delivery(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The delivery's id.")]
    ) -> WebhookPayload | None:
        def act(caller: Caller) -> WebhookPayload:
            return WebhookPayload(webhook=Webhook.of(webhooks.replay_delivery(caller, id.removeprefix("delivery:"))))

        return await payload(info, WebhookPayload, act)


def _slot_payload(location: str, snapshot: Snapshot, job: CoreJob) -> PackLocationPayload:
    slot = PackLocation.of(snapshot, location)
    return PackLocationPayload(pack_location=slot, pack=slot.pack, job=Job.of(job))


def _check_tenant(caller: Caller, tenant_id: str) -> None:
    own = f"tenant:{caller.tenant}"
    if tenant_id != own:
        # Another tenant's name answers like one that nobody has.
        raise NotFound("There is no such tenant.", field=("scope", "tenant"), expected=own, got=tenant_id)
