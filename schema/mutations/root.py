"""The root type of mutations. Every payload is nullable, so that one failing alias does not null the others."""

from typing import Annotated

import strawberry

from packshot.catalog.work.jobs import Job as CoreJob
from packshot.ids import IdKind, own_id
from packshot.model import Snapshot
from resolvers import originals, pack_imports, packs, previews, uploads, webhooks
from resolvers.caller import Caller, Scope
from schema.base.enums import OnExisting, core
from schema.base.inputs import given
from schema.base.scalars import URL
from schema.execution.scopes import Needs
from schema.mutations.erasures import EraseMutation
from schema.mutations.jobs import JobMutation
from schema.mutations.locations import LocationMutation, LocationName
from schema.mutations.payloads import (
    DeletePackPayload,
    ExpectedVersion,
    IdempotencyKey,
    PackLocationPayload,
    PackPayload,
    PacksPayload,
    UploadPayload,
    WebhookPayload,
    payload,
)
from schema.mutations.plans import PlanMutation
from schema.mutations.purges import PurgeMutation
from schema.mutations.signed_urls import SigningMutation
from schema.request.context import Info
from schema.types.jobs import Job
from schema.types.pack_inputs import CropInput, PackInput, PackLocationInput, PackLocationPatch
from schema.types.packs import Pack, PackLocation
from schema.types.uploads import OriginalSource, Upload, UploadInput
from schema.types.webhooks import Webhook

PackId = Annotated[strawberry.ID, strawberry.argument(description="The id of the pack.")]


@strawberry.type(
    description="Everything that changes data. Refusals come as `userErrors`; a refused mutation changes nothing."
)
class Mutation(LocationMutation, PlanMutation, EraseMutation, JobMutation, PurgeMutation, SigningMutation):
    @strawberry.mutation(
        description="Create a pack, with or without originals. It has nothing to show until it has an original.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def create_pack(
        self,
        info: Info,
        input: Annotated[
            PackInput | None, strawberry.argument(description="The values and originals of the pack.")
        ] = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> PackPayload | None:
        def act(caller: Caller) -> PackPayload:
            asked = given(input)
            snapshot, job = pack_imports.create_pack(
                caller, pack_imports.NewPack({}) if asked is None else asked.to_core()
            )
            return PackPayload(pack=Pack.of(snapshot.pack), job=None if job is None else Job.of(job))

        threads = info.context.threads.rendering
        return await payload(info, PackPayload, act, under=("input",), key=idempotency_key, threads=threads)

    @strawberry.mutation(
        description="Create up to 100 packs with their originals in one transaction; each is created or refused "
        "separately. A job fetches originals by URL.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def create_packs(
        self,
        info: Info,
        inputs: Annotated[list[PackInput], strawberry.argument(description="The packs.")],
        on_existing: Annotated[
            OnExisting,
            strawberry.argument(description="What to do if a pack with the same asset or external id exists."),
        ] = OnExisting.FAIL,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> PacksPayload | None:
        def act(caller: Caller) -> PacksPayload:
            wanted = [input.to_core() for input in inputs]
            outcomes, job = pack_imports.create_packs(caller, wanted, core(on_existing))
            return PacksPayload(outcomes=outcomes, job=None if job is None else Job.of(job))

        threads = info.context.threads.rendering
        return await payload(info, PacksPayload, act, key=idempotency_key, threads=threads)

    @strawberry.mutation(description="Change the settings of a pack.", extensions=[Needs(Scope.PACKS_WRITE)])
    async def update_pack(
        self,
        info: Info,
        id: PackId,
        input: Annotated[PackInput, strawberry.argument(description="The changes.")],
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> PackPayload | None:
        def act(caller: Caller) -> PackPayload:
            snapshot, job = packs.update_pack(caller, id, input.changes(), expected_version=given(expected_version))
            return PackPayload(pack=Pack.of(snapshot.pack), job=None if job is None else Job.of(job))

        return await payload(info, PackPayload, act, under=("input",), key=idempotency_key)

    @strawberry.mutation(
        description="Delete a pack. It disappears from the catalog at once; its immutable URLs keep working for the "
        "grace period.",
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
        description="Announce an upload, and get the URL to send its bytes to.", extensions=[Needs(Scope.UPLOADS_WRITE)]
    )
    async def create_upload(
        self,
        info: Info,
        input: Annotated[UploadInput, strawberry.argument(description="What will be uploaded, and how.")],
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
        description="Set the original of a pack location, from an upload or a URL. An image that cannot be "
        "rendered is refused. Crop and focus stay.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def set_original(
        self,
        info: Info,
        pack_id: PackId,
        location: LocationName,
        source: Annotated[OriginalSource, strawberry.argument(description="The source of the bytes.")],
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> PackLocationPayload | None:
        def act(caller: Caller) -> PackLocationPayload:
            came_from, expected = source.to_core(), given(expected_version)
            return _slot_payload(
                location, *originals.set_original(caller, pack_id, location, came_from, expected_version=expected)
            )

        pools = info.context.threads
        threads = pools.rendering if source.url is None else pools.fetching
        return await payload(info, PackLocationPayload, act, key=idempotency_key, threads=threads)

    @strawberry.mutation(
        description="Set the crop of a pack location. The full rectangle shows the whole original; "
        "`updatePackLocation` with `crop: null` removes the crop.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def set_crop(
        self,
        info: Info,
        pack_id: PackId,
        location: LocationName,
        crop: Annotated[CropInput, strawberry.argument(description="The rectangle to show.")],
        dry_run: Annotated[
            bool, strawberry.argument(description="Change nothing, but render previews, for `previewUrls`.")
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
                pack_location = PackLocation.of(snapshot, location)
                return PackLocationPayload(
                    pack_location=pack_location, pack=pack_location.pack, preview_urls=[URL(url) for url in urls]
                )
            edited = packs.set_crop(caller, pack_id, location, crop.to_core(), expected_version=expected)
            return _slot_payload(location, *edited)

        threads = info.context.threads.rendering if dry_run else None
        return await payload(info, PackLocationPayload, act, key=idempotency_key, threads=threads)

    @strawberry.mutation(
        description="Remove the original of a pack location; its crop and other settings stay. Then a fallback "
        "location's original is shown.",
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
        input: Annotated[PackLocationInput, strawberry.argument(description="The changes.")],
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> PackLocationPayload | None:
        def act(caller: Caller) -> PackLocationPayload:
            patch = packs.PackLocationPatch(location, input.values(), at=("input",))
            return _slot_payload(
                location, *packs.edit_pack_location(caller, pack_id, patch, expected_version=given(expected_version))
            )

        return await payload(info, PackLocationPayload, act, key=idempotency_key)

    @strawberry.mutation(
        description="Change several locations of one pack in one edit: all or none.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def update_pack_locations(
        self,
        info: Info,
        pack_id: PackId,
        inputs: Annotated[list[PackLocationPatch], strawberry.argument(description="The changes, each location once.")],
        expected_version: ExpectedVersion = strawberry.UNSET,
        idempotency_key: IdempotencyKey = strawberry.UNSET,
    ) -> PackPayload | None:
        def act(caller: Caller) -> PackPayload:
            patches = [
                packs.PackLocationPatch(patch.location, patch.values(), at=("inputs", str(index)))
                for index, patch in enumerate(inputs)
            ]
            snapshot, job = packs.edit_pack_locations(
                caller, pack_id, patches, expected_version=given(expected_version)
            )
            return PackPayload(pack=Pack.of(snapshot.pack), job=Job.of(job))

        return await payload(info, PackPayload, act, key=idempotency_key)

    @strawberry.mutation(
        description="Create a webhook: a URL that receives the events pack.changed, variants.ready and "
        "job.finished. The token also needs `read`, because the receiver learns about every pack.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def create_webhook(
        self,
        info: Info,
        url: Annotated[URL, strawberry.argument(description="The public URL that receives the events by POST.")],
        events: Annotated[
            list[str],
            strawberry.argument(description="The events to send: pack.changed, variants.ready, job.finished."),
        ],
    ) -> WebhookPayload | None:
        def act(caller: Caller) -> WebhookPayload:
            webhook, secret = webhooks.create_webhook(caller, url, events)
            return WebhookPayload(webhook=Webhook.of(webhook), secret=secret)

        return await payload(info, WebhookPayload, act)

    @strawberry.mutation(
        description="Replace the secret of a webhook; the response shows the new secret once. From now on "
        "deliveries, also pending ones, are signed with it, and for a while with the replaced secret "
        "too: `webhook-signature` then has both signatures. The token also needs `read`.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def rotate_webhook_secret(
        self,
        info: Info,
        id: Annotated[strawberry.ID, strawberry.argument(description="The id of the webhook.")],
        keep_old_for_seconds: Annotated[
            int,
            strawberry.argument(
                description="Seconds that the replaced secret also signs: up to 604800, a week. Secrets that were "
                "replaced earlier expire then at the latest, so 0 ends all secrets but the new one, "
                "for example after a leak."
            ),
        ] = 86400,
    ) -> WebhookPayload | None:
        def act(caller: Caller) -> WebhookPayload:
            webhook, secret = webhooks.rotate_webhook_secret(caller, own_id(IdKind.WEBHOOK, id), keep_old_for_seconds)
            return WebhookPayload(webhook=Webhook.of(webhook), secret=secret)

        return await payload(info, WebhookPayload, act)

    @strawberry.mutation(
        description="Delete a webhook and its pending deliveries.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def delete_webhook(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id of the webhook.")]
    ) -> WebhookPayload | None:
        def act(caller: Caller) -> WebhookPayload:
            return WebhookPayload(webhook=Webhook.of(webhooks.delete_webhook(caller, own_id(IdKind.WEBHOOK, id))))

        return await payload(info, WebhookPayload, act)

    @strawberry.mutation(
        description="Send a delivery again, with the same id and body.",
        extensions=[Needs(Scope.PACKS_WRITE)],
    )
    async def replay_delivery(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The id of the delivery.")]
    ) -> WebhookPayload | None:
        def act(caller: Caller) -> WebhookPayload:
            return WebhookPayload(webhook=Webhook.of(webhooks.replay_delivery(caller, own_id(IdKind.DELIVERY, id))))

        return await payload(info, WebhookPayload, act)


def _slot_payload(location: str, snapshot: Snapshot, job: CoreJob) -> PackLocationPayload:
    pack_location = PackLocation.of(snapshot, location)
    return PackLocationPayload(pack_location=pack_location, pack=pack_location.pack, job=Job.of(job))
