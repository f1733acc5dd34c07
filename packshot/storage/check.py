"""Check that a store does what Packshot relies on, for `packshot doctor` and at start."""

import errno
from collections.abc import Iterator
from contextlib import suppress
from uuid import uuid4

from packshot.storage.base import AlreadyThere, NoSuchObject, ObjectStore, Stored
from packshot.storage.write_check import CHECK_METADATA, FOLDER


def check_store(store: ObjectStore) -> list[str]:
    """Put, read, overwrite and delete one small object; return the faults found, one sentence each.

    Each sentence says what to do about it. An empty list means that the store works.

    Raises:
        OSError: the store is down (EIO); this takes as long as the store's deadlines.
    """
    return list(_faults(store, f"{FOLDER}/{uuid4().hex}"))


def _faults(store: ObjectStore, key: str) -> Iterator[str]:
    body = key.encode()
    try:
        # This comes first: without the right to list, S3 answers "denied" for an object that does not exist.
        if store.head(key) is not None:
            yield "The store reports an object under a random new name: check that an object store answers."
            return
        stored = store.put(key, body, CHECK_METADATA)
    except AlreadyThere:
        yield "The store reports that a random new name is taken: check that an object store answers."
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
        yield f"The store accepted an object and failed afterwards: {error}."
    try:
        store.delete(key)
        if store.head(key) is not None:
            yield "The store keeps a deleted object: allow deletion, and check for a cache or an object lock."
    except OSError as error:
        yield f"The store does not delete; it keeps {key}: {error}."


def _faults_of_reading(store: ObjectStore, stored: Stored, body: bytes) -> Iterator[str]:
    if store.get(stored.key)[0] != body:
        yield "The store returns other bytes than were put."
    found = store.head(stored.key)
    if found is None or found.metadata != stored.metadata or found.sha256 != stored.sha256:
        yield "The store does not return an object's metadata: check for a proxy that drops x-amz-meta-* headers."
    if list(store.list(stored.key)) != [stored.key]:
        yield "The store does not list an object that was put: allow s3:ListBucket on the bucket."


def _faults_of_overwriting(store: ObjectStore, key: str, body: bytes) -> Iterator[str]:
    with suppress(AlreadyThere):
        store.put(key, body[::-1], CHECK_METADATA)
        yield (
            "The store ignores If-None-Match and overwrites existing objects: use a store with conditional writes"
            " (AWS S3, SeaweedFS, MinIO, Cloudflare R2), and no proxy that drops the header."
        )
