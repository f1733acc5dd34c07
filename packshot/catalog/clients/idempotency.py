"""Idempotency keys: a repeated call gets the stored response and changes nothing.

The key's row is written in the transaction of the change, so that a crash leaves both or none. Of two concurrent
calls, the second waits and finds the response of the first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.clients import idempotency_answers
from packshot.errors import IdempotencyMismatch

KEEP_ANSWERS = timedelta(hours=24)


class AnsweredBefore(Exception):
    """This call was made before. It is not a refusal: nothing changes, and the caller gets the stored response.

    Attributes:
        answer: what `record_answer` stored for the first call.
    """

    def __init__(self, answer: dict[str, str]) -> None:
        super().__init__(answer)
        self.answer = answer


@dataclass(frozen=True, slots=True)
class IdempotentCall:
    """A call that must take effect once.

    Attributes:
        id: digest of the caller and the key.
        body_sha256: digest of the request.
    """

    id: str
    body_sha256: str


def call_of(subject: str, key: str, body: str) -> IdempotentCall:
    """Return the call with which `subject` uses `key`. `body` is the request in a canonical form."""
    return IdempotentCall(sha256(f"{subject}\0{key}".encode()).hexdigest(), sha256(body.encode()).hexdigest())


def find_answer(tx: Tx, call: IdempotentCall) -> None:
    """Raise what `begin_call` would, but do not wait for a concurrent call."""
    row = tx.connection.execute(
        sa.select(idempotency_answers.c.body_sha256, idempotency_answers.c.answer).where(
            idempotency_answers.c.tenant_id == tx.tenant,
            idempotency_answers.c.id == call.id,
            idempotency_answers.c.expires_at > tx.now,
        )
    ).first()
    if row is not None:
        _answer(call, row.body_sha256, row.answer)


def begin_call(tx: Tx, call: IdempotentCall) -> None:
    """Take the key for this transaction. Other calls with the same key wait until it ends.

    Raises:
        AnsweredBefore: this call was made in the last 24 hours.
        IdempotencyMismatch: another call was made with the key.
    """
    statement = tx.insert(idempotency_answers).values(
        tenant_id=tx.tenant, id=call.id, body_sha256=call.body_sha256, answer={}, expires_at=tx.now + KEEP_ANSWERS
    )
    taken = tx.connection.execute(
        statement.on_conflict_do_update(
            index_elements=["tenant_id", "id"],
            set_={"body_sha256": call.body_sha256, "answer": {}, "expires_at": tx.now + KEEP_ANSWERS},
            where=idempotency_answers.c.expires_at <= tx.now,
        ).returning(idempotency_answers.c.id)
    )
    if taken.first() is None:
        find_answer(tx, call)


def record_answer(tx: Tx, call: IdempotentCall, answer: Mapping[str, str]) -> None:
    """Store the response of a call, in the transaction in which `begin_call` took its key.

    Args:
        answer: ids of what the call created, from which the response is built again.
    """
    conditions = (idempotency_answers.c.tenant_id == tx.tenant, idempotency_answers.c.id == call.id)
    tx.connection.execute(sa.update(idempotency_answers).where(*conditions).values(answer=dict(answer)))


def delete_expired_answers(tx: Tx) -> None:
    """Delete expired responses of all tenants."""
    tx.connection.execute(sa.delete(idempotency_answers).where(idempotency_answers.c.expires_at <= tx.now))


def _answer(call: IdempotentCall, body_sha256: str, answer: dict[str, str]) -> None:
    if body_sha256 != call.body_sha256:
        raise IdempotencyMismatch(
            "Another call was made with this key.",
            field=("idempotency_key",),
            expected="the same arguments as before, or another key",
        )
    raise AnsweredBefore(answer)
