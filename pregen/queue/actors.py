"""The Dramatiq actor, its queues and its messages.

There is one actor, `refresh_pack`. A worker declares it. A process that only rings, such as an application beside
workers, builds the same message without the actor's code.
"""

from collections.abc import Callable, Sequence

import dramatiq
from dramatiq import Actor, Broker, Message

from packshot.catalog.work.orders import Priority

ACTOR = "refresh_pack"
QUEUES = {Priority.INTERACTIVE: "interactive", Priority.BULK: "bulk"}
# Between the ids of a message. One text, so that workers of earlier versions read a message of one pack.
SEPARATOR = ","


def declare_actors(broker: Broker, refresh: Callable[[str, Sequence[str]], None]) -> Actor[[str, str], None]:
    """Declare the actor on a broker: it passes each message's tenant and pack ids to `refresh`.

    It has no options for retries or time limits, because the ledger decides on both. Bulk messages carry the name of
    the same actor and the bulk queue.
    """

    @dramatiq.actor(actor_name=ACTOR, queue_name=QUEUES[Priority.INTERACTIVE], broker=broker)
    def refresh_pack(tenant: str, pack_ids: str) -> None:
        refresh(tenant, pack_ids.split(SEPARATOR))

    return refresh_pack


def refresh_message(tenant: str, pack_ids: Sequence[str], priority: Priority) -> Message[None]:
    """Return the message that asks a worker to refresh some packs of a tenant."""
    return Message(
        queue_name=QUEUES[priority],
        actor_name=ACTOR,
        args=(tenant, SEPARATOR.join(pack_ids)),
        kwargs={},
        options={},
    )
