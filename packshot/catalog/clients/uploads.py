"""Uploads, which clients must complete within fifteen minutes. A token for the application allows one attempt."""

import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from packshot.catalog.configuration.tenants import get_tenant
from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.clients import uploads
from packshot.errors import BadState, NotFound, UploadExpired

LIFETIME = timedelta(minutes=15)


class UploadState(StrEnum):
    """The state of an upload."""

    OPEN = "open"
    RECEIVING = "receiving"
    RECEIVED = "received"
    FAILED = "failed"
    USED = "used"


class UploadMethod(StrEnum):
    """How a client sends its bytes. The first two ways send them to the store itself, if it supports that."""

    PRESIGNED_POST = "presigned_post"
    PRESIGNED_PUT = "presigned_put"
    ONE_TIME_TOKEN = "one_time_token"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Upload:
    """An announced upload.

    Attributes:
        state: always OPEN if the client sends to the store itself, which knows what arrived. USED, for a live resize
            image, after its attempt began: the attempt makes an image or discards the bytes.
        image_id: the live resize image; None: `setOriginal` says what the bytes are for.
        expected_sha256: announced by the client; None: not announced.
        sha256, bytes: of what was received; None before.
    """

    id: str
    state: UploadState
    method: UploadMethod
    media_type: str
    max_bytes: int
    expected_sha256: str | None
    sha256: str | None
    bytes: int | None
    expires_at: datetime
    image_id: str | None = None


def new_upload_id() -> str:
    """Return a new upload id."""
    return secrets.token_hex(12)


def create_upload(
    tx: Tx,
    upload_id: str,
    token: str,
    *,
    method: UploadMethod,
    media_type: str,
    max_bytes: int,
    expected_sha256: str | None = None,
    image_id: str | None = None,
) -> Upload:
    """Announce an upload. Only the digest of its token is stored.

    Raises:
        NotFound: no such tenant.
    """
    get_tenant(tx)
    tx.connection.execute(
        sa.insert(uploads).values(
            tenant_id=tx.tenant,
            id=upload_id,
            state=UploadState.OPEN.value,
            token_sha256=sha256(token.encode()).hexdigest(),
            method=method.value,
            media_type=media_type,
            max_bytes=max_bytes,
            expected_sha256=expected_sha256,
            image_id=image_id,
            created_at=tx.now,
            expires_at=tx.now + LIFETIME,
        )
    )
    return get_upload(tx, upload_id)


def get_upload(tx: Tx, upload_id: str) -> Upload:
    """Return an upload.

    Raises:
        NotFound: the tenant has no such upload.
    """
    return _to_upload(_row(tx, upload_id))


def _row(tx: Tx, upload_id: str, *, lock: bool = False) -> Any:
    conditions = (uploads.c.tenant_id == tx.tenant, uploads.c.id == upload_id)
    statement = sa.select(uploads).where(*conditions)
    row = tx.connection.execute(statement.with_for_update() if lock else statement).first()
    if row is None:
        raise NotFound(
            "There is no such upload.", field=("upload_id",), expected="an upload of this tenant", got=upload_id
        )
    return row


def begin_receiving(tx: Tx, upload_id: str, token: str, *, image_ids: Collection[str | None] = (None,)) -> Upload:
    """Use an upload's token.

    Args:
        image_ids: the live resize images that the caller may mean; None: none.

    Raises:
        NotFound: no such upload, a wrong token, or another image; the error does not tell which.
        BadState: the token was used before.
        UploadExpired: the fifteen minutes are over.
    """
    row = _row(tx, upload_id, lock=True)
    _check_token(row, upload_id, token, image_ids)
    upload = _to_upload(row)
    check_open(tx, upload)
    state = UploadState.RECEIVING if upload.image_id is None else UploadState.USED
    _set(tx, upload_id, state=state.value)
    return upload


def check_token(tx: Tx, upload_id: str, token: str, *, image_ids: Collection[str | None] = (None,)) -> Upload:
    """Return the upload of a token, or raise `NotFound` as `begin_receiving` does. It changes nothing."""
    row = _row(tx, upload_id)
    _check_token(row, upload_id, token, image_ids)
    return _to_upload(row)


def check_open(tx: Tx, upload: Upload) -> None:
    """Raise `BadState` if the upload's token was used before, `UploadExpired` if the upload has expired."""
    if upload.state is not UploadState.OPEN:
        raise BadState(
            "The token of this upload was used before.",
            field=("upload_id",),
            expected="a new upload",
            got=upload.state.value,
        )
    check_not_expired(tx, upload)


def _check_token(row: Any, upload_id: str, token: str, image_ids: Collection[str | None]) -> None:
    is_right = hmac.compare_digest(row.token_sha256, sha256(token.encode()).hexdigest())
    if not is_right or row.image_id not in image_ids:
        raise NotFound(
            "There is no such upload.", field=("upload_id",), expected="an upload and its token", got=upload_id
        )


def check_not_expired(tx: Tx, upload: Upload) -> None:
    """Raise `UploadExpired` if the upload has expired."""
    if upload.expires_at <= tx.now:
        raise UploadExpired(
            "This upload has expired.",
            field=("upload_id",),
            expected="an upload of the last 15 minutes",
            got=f"one that expired at {upload.expires_at:%Y-%m-%dT%H:%M:%SZ}",
        )


def end_receiving(tx: Tx, upload_id: str, *, digest: str, size: int) -> None:
    """Record that all bytes are stored."""
    _set(tx, upload_id, state=UploadState.RECEIVED.value, sha256=digest, bytes=size)


def fail_receiving(tx: Tx, upload_id: str) -> None:
    """Record that the only attempt failed."""
    _set(tx, upload_id, state=UploadState.FAILED.value)


def list_expired(tx: Tx, *, limit: int) -> list[tuple[str, str]]:
    """Return (tenant, id) of up to `limit` uploads of all tenants that expired more than an hour ago."""
    # A `setOriginal` that began in time may still read the upload.
    statement = (
        sa.select(uploads.c.tenant_id, uploads.c.id)
        .where(uploads.c.expires_at < tx.now - timedelta(hours=1))
        .order_by(uploads.c.expires_at)
        .limit(limit)
    )
    return [(row.tenant_id, row.id) for row in tx.connection.execute(statement)]


def delete_upload(tx: Tx, upload_id: str) -> None:
    """Delete an upload's row."""
    tx.connection.execute(sa.delete(uploads).where(uploads.c.tenant_id == tx.tenant, uploads.c.id == upload_id))


def _set(tx: Tx, upload_id: str, **values: object) -> None:
    tx.connection.execute(
        sa.update(uploads).where(uploads.c.tenant_id == tx.tenant, uploads.c.id == upload_id).values(**values)
    )


def _to_upload(row: Any) -> Upload:
    return Upload(
        id=row.id,
        state=UploadState(row.state),
        method=UploadMethod.ONE_TIME_TOKEN if row.method is None else UploadMethod(row.method),
        media_type=row.media_type,
        max_bytes=row.max_bytes,
        expected_sha256=row.expected_sha256,
        sha256=row.sha256,
        bytes=row.bytes,
        expires_at=row.expires_at,
        image_id=row.image_id,
    )
