"""Webhooks: who is told of what, and every single telling."""

from datetime import datetime

import strawberry

from packshot.catalog.clients.webhook_deliveries import Delivery
from packshot.catalog.clients.webhooks import Webhook as CoreWebhook
from resolvers import webhooks
from schema.base.enums import JobState
from schema.base.inputs import given
from schema.base.interfaces import Node
from schema.base.paging import After, Connection, First, asks_total, connect
from schema.base.refusals import read
from schema.base.scalars import URL
from schema.request.context import Info


@strawberry.type(description="One telling of one webhook.")
class WebhookDelivery(Node):
    event: str = strawberry.field(description="What is told: pack.changed, variants.ready or job.finished.")
    state: JobState = strawberry.field(
        description="QUEUED: still to be told, perhaps again; SUCCEEDED: the address took it; FAILED: given up."
    )
    attempts: int = strawberry.field(description="How often it was tried.")
    response_status: int | None = strawberry.field(
        description="What the address answered last; null: nothing was sent yet, or there was no answer."
    )
    error: str | None = strawberry.field(description="Why the last attempt came to nothing; null: none has.")
    next_attempt_at: datetime | None = strawberry.field(description="When it is tried next; null: it has ended.")
    created_at: datetime = strawberry.field(description="When it happened.")

    @classmethod
    def of(cls, delivery: Delivery) -> "WebhookDelivery":
        return cls(
            id=strawberry.ID(f"delivery:{delivery.id}"),
            event=delivery.event.value,
            state=JobState[delivery.state.name],
            attempts=delivery.attempts,
            response_status=delivery.response_status,
            error=delivery.error,
            next_attempt_at=delivery.next_attempt_at,
            created_at=delivery.created_at,
        )


@strawberry.type(description="An address that is told what happens, by POST, signed by the Standard Webhooks rules.")
class Webhook(Node):
    url: URL = strawberry.field(description="The address.")
    events: list[str] = strawberry.field(description="What it is told: pack.changed, variants.ready, job.finished.")
    active: bool = strawberry.field(description="Whether it is told anything at present.")
    old_secrets_until: datetime | None = strawberry.field(
        description="Until when a replaced secret signs too; null: only the current secret signs."
    )
    core: strawberry.Private[CoreWebhook]

    @strawberry.field(
        description="What it was told in the last 30 days, and what it is still to be told; newest first."
    )
    async def deliveries(
        self, info: Info, first: First = 20, after: After = strawberry.UNSET
    ) -> Connection[WebhookDelivery]:
        caller, webhook_id = info.context.caller, self.core.id
        total = asks_total(info)
        page = await read(
            info, lambda: webhooks.list_deliveries(caller, webhook_id, first=first, after=given(after), total=total)
        )
        return connect(page, WebhookDelivery.of)

    @classmethod
    def of(cls, webhook: CoreWebhook) -> "Webhook":
        return cls(
            id=strawberry.ID(f"webhook:{webhook.id}"),
            url=URL(webhook.url),
            events=[event.value for event in webhook.events],
            active=webhook.active,
            old_secrets_until=webhook.old_secrets_until,
            core=webhook,
        )
