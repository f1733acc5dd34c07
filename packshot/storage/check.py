"""Trying out whether a store does what Packshot relies on, for `packshot doctor` and at start."""

import errno
from collections.abc import Iterator
from contextlib import suppress
from uuid import uuid4

from packshot.storage.base import AlreadyThere, NoSuchObject, ObjectStore, Stored
from packshot.storage.write_check import CHECK_METADATA, FOLDER


def check_store(store: ObjectStore) -> list[str]:
    """Put, read, overwrite and delete one small object; return what was wrong, a sentence each.

    Each sentence says what to mend; without faults there is none.

    Raises:
        OSError: the store is away, EIO; it takes as long as its deadlines allow to say so.
    """
    return list(_faults(store, f"{FOLDER}/{uuid4().hex}"))


def _faults(store: ObjectStore, key: str) -> Iterator[str]:
    body = key.encode()
    try:
        # Asked first: without the right to list, S3 denies what is merely absent.
        if store.head(key) is not None:
            yield "The store knows an object by a name made up just now: is the answer from a store at all?"
            return
        stored = store.put(key, body, CHECK_METADATA)
    except AlreadyThere:
        yield "The store says that a name made up just now is taken: is the answer from a store at all?"
        return
    except OSError as error:
        if error.errno == errno.EIO:
            raise
        yield f"The store cannot be used: {error}."
        return
    try:
        yield from _faults_of_reading(store, stored, body)
        yield from _faults_of_overwriting(store, key, body)
    except (OSError, NoSuchObject) as error:
        yield f"The store could be written and then failed: {error}."
    try:
        store.delete(key)
        if store.head(key) is not None:
            yield "The store keeps what was deleted: allow deletion, and check for a cache or an object lock."
    except OSError as error:
        yield f"The store does not delete, and keeps {key}: {error}."


def _faults_of_reading(store: ObjectStore, stored: Stored, body: bytes) -> Iterator[str]:
    if store.get(stored.key)[0] != body:
        yield "The store gives back other bytes than were put."
    found = store.head(stored.key)
    if found is None or found.metadata != stored.metadata or found.sha256 != stored.sha256:
        yield "The store does not give back an object's metadata: a proxy between may drop x-amz-meta-* headers."
    if list(store.list(stored.key)) != [stored.key]:
        yield "The store does not list what was put: allow s3:ListBucket on the bucket."


def _faults_of_overwriting(store: ObjectStore, key: str, body: bytes) -> Iterator[str]:
    with suppress(AlreadyThere):
        store.put(key, body[::-1], CHECK_METADATA)
        yield (
            "The store ignores If-None-Match and overwrites what is there: use one that does conditional writes"
            " (AWS S3, SeaweedFS, MinIO, Cloudflare R2), and no proxy that drops the header."
        )
