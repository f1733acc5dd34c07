"""GraphQL types of webhooks and their deliveries."""

from datetime import datetime

import strawberry

from packshot.catalog.clients.webhook_deliveries import Delivery
from packshot.catalog.clients.webhooks import Webhook as CoreWebhook
from packshot.ids import IdKind, global_id
from resolvers import webhooks
from schema.base.enums import JobState
from schema.base.inputs import given
from schema.base.interfaces import Node
from schema.base.paging import After, Connection, First, asks_total, connect
from schema.base.refusals import read
from schema.base.scalars import URL
from schema.request.context import Info


@strawberry.type(description="One message to one webhook.")
class WebhookDelivery(Node):
    event: str = strawberry.field(description="The event: pack.changed, variants.ready or job.finished.")
    state: JobState = strawberry.field(
        description="QUEUED: not delivered yet, perhaps retried; SUCCEEDED: the receiver accepted it; FAILED: given up."
    )
    attempts: int = strawberry.field(description="The number of attempts.")
    response_status: int | None = strawberry.field(
        description="The last HTTP status of the receiver; null if nothing was sent yet, or no response came."
    )
    error: str | None = strawberry.field(description="Why the last attempt failed; null if none did.")
    next_attempt_at: datetime | None = strawberry.field(
        description="When the next attempt starts; null if it has finished."
    )
    created_at: datetime = strawberry.field(description="When the event happened.")

    @classmethod
    def of(cls, delivery: Delivery) -> "WebhookDelivery":
        return cls(
            id=strawberry.ID(global_id(IdKind.DELIVERY, delivery.id)),
            event=delivery.event.value,
            state=JobState[delivery.state.name],
            attempts=delivery.attempts,
            response_status=delivery.response_status,
            error=delivery.error,
            next_attempt_at=delivery.next_attempt_at,
            created_at=delivery.created_at,
        )


@strawberry.type(description="A URL that receives events by POST, signed by the rules of Standard Webhooks.")
class Webhook(Node):
    url: URL = strawberry.field(description="The URL that receives the events.")
    events: list[str] = strawberry.field(
        description="The events that it receives: pack.changed, variants.ready, job.finished."
    )
    active: bool = strawberry.field(description="Whether it receives events.")
    old_secrets_until: datetime | None = strawberry.field(
        description="Until when a replaced secret also signs; null if only the current secret signs."
    )
    core: strawberry.Private[CoreWebhook]

    @strawberry.field(description="Pending deliveries and those of the last 30 days, newest first.")
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
            id=strawberry.ID(global_id(IdKind.WEBHOOK, webhook.id)),
            url=URL(webhook.url),
            events=[event.value for event in webhook.events],
            active=webhook.active,
            old_secrets_until=webhook.old_secrets_until,
            core=webhook,
        )
