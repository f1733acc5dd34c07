"""Check that clients can send uploads directly to a store, for `packshot doctor`."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import urllib3
from urllib3.exceptions import HTTPError

from packshot.network.http_connection import make_pool
from packshot.storage.base import DirectAccess, NoSuchObject, ObjectStore, Ticket, TooManyBytes
from packshot.storage.write_check import FOLDER

POST, PUT = "presigned_post", "presigned_put"
_MEDIA_TYPE, _TICKET_SECONDS = "image/png", 60
_TIMEOUT = urllib3.Timeout(connect=3.0, read=5.0)


class UploadRefused(OSError):
    """The store refuses an upload that was signed for it."""


class StoreUnreachable(OSError):
    """The address by which clients reach the store does not answer."""


def try_upload(store: ObjectStore, direct: DirectAccess, method: str) -> None:
    """Send a small upload to the store as a client does, read it, and delete it.

    Args:
        method: `presigned_post` or `presigned_put`.

    Raises:
        StoreUnreachable: the address that clients use does not answer.
        UploadRefused: the store refuses the upload, or does not have it afterwards.
        OSError: the store is down.
    """
    key = f"{FOLDER}/{uuid4().hex}"
    body = key.encode()
    if method == POST:
        ticket = direct.sign_post(key, content_type=_MEDIA_TYPE, most=len(body), seconds=_TICKET_SECONDS)
    else:
        ticket = direct.sign_put(key, content_type=_MEDIA_TYPE, size=len(body), seconds=_TICKET_SECONDS)
    try:
        _send(ticket, body)
        with TemporaryDirectory() as folder:
            received = Path(folder) / "received"
            try:
                direct.receive(key, received, max_bytes=len(body))
            except (NoSuchObject, TooManyBytes):
                raise UploadRefused("the store accepted an upload and does not have it") from None
            if received.read_bytes() != body:
                raise UploadRefused("the store has other bytes than were sent")
    finally:
        store.delete(key)


def find_working_method(store: ObjectStore, direct: DirectAccess, methods: Sequence[str]) -> str | None:
    """Return the first method by which the store accepts an upload; None: none works."""
    for method in methods:
        try:
            try_upload(store, direct, method)
        except (UploadRefused, StoreUnreachable):
            continue
        return method
    return None


def _send(ticket: Ticket, body: bytes) -> None:
    with make_pool(retries=False, timeout=_TIMEOUT) as pool:
        try:
            if ticket.method == "POST":
                # The file is the last field: a store ignores fields after it.
                fields: dict[str, str | bytes | tuple[str, str | bytes, str]] = {
                    **ticket.fields,
                    "file": ("check", body, _MEDIA_TYPE),
                }
                answer = pool.request("POST", ticket.url, fields=fields)
            else:
                answer = pool.request("PUT", ticket.url, body=body, headers=dict(ticket.headers))
        except HTTPError as error:
            raise StoreUnreachable(f"the address does not answer ({type(error).__name__})") from error
    if not 200 <= answer.status < 300:
        raise UploadRefused(f"the store answers {answer.status}")
