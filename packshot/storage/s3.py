"""Objects in a bucket of S3, or of a store with the same protocol.

Writes that must not overwrite use the store's `If-None-Match: *`. An object's SHA-256 is sent along for the store to
verify, kept in its metadata, and verified again whenever its bytes are read.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any

from botocore.exceptions import ClientError

from packshot.storage.base import (
    AlreadyThere,
    Metadata,
    NoSuchObject,
    Opened,
    Stored,
    check_key,
    check_prefix,
)
from packshot.storage.s3_client import S3Client, status_of
from packshot.storage.s3_direct import S3DirectAccess
from packshot.storage.s3_objects import Body, headers_of, measure, sendable, stored_of

PAGE_KEYS = 1000  # The maximum of every store.
_MOST = {"list_object_versions": "MaxKeys", "list_multipart_uploads": "MaxUploads"}


class S3Store:
    """An `ObjectStore` in one bucket. Credentials come from the usual AWS chain.

    The store must support conditional writes (AWS, SeaweedFS, MinIO, R2, Ceph do); `check_store` verifies that. An
    object is put in a single request, so the largest has 5 GiB. A versioned bucket keeps the bytes of deleted objects.

    Args:
        prefix: text before every key in the bucket, such as "i/".
        scratch: folder for the files of `as_file`; None: the system's temporary folder.
        endpoint_url: URL of an S3-compatible store; None: AWS.
        public_endpoint_url: URL by which clients reach the store, for signed URLs; None: `endpoint_url`.
        region: None: from this machine's AWS configuration.
        connect_seconds: longest wait for a connection, and for the store to accept each part of a body.
        read_seconds: longest silence of the store while a response is awaited.
        patience_seconds: time after which a silent or failing store becomes an `OSError`. A transfer that
        progresses,
            even slowly, is not aborted.
    """

    def __init__(
        self,
        bucket: str,
        *,
        prefix: str = "",
        scratch: Path | None = None,
        endpoint_url: str | None = None,
        public_endpoint_url: str | None = None,
        region: str | None = None,
        connect_seconds: float = 2.0,
        read_seconds: float = 10.0,
        patience_seconds: float = 45.0,
    ) -> None:
        self._bucket = bucket
        self._prefix = check_prefix(prefix) and prefix.removesuffix("/") + "/"
        self._scratch = scratch

        def client(url: str | None) -> S3Client:
            return S3Client(
                bucket,
                endpoint_url=url,
                region=region,
                connect_seconds=connect_seconds,
                read_seconds=read_seconds,
                patience_seconds=patience_seconds,
            )

        self._s3 = client(endpoint_url)
        signer = self._s3 if public_endpoint_url is None else client(public_endpoint_url)
        self.direct = S3DirectAccess(self._prefix, self._s3, signer)
        self._bucket_seen = False

    def put(self, key: str, body: bytes | Path, metadata: Metadata) -> Stored:
        """Store `body` under `key` permanently. If `body` is a path, its content is copied and the file stays.

        The file is read once for its digest and once to be sent, never whole into memory.

        Raises:
            AlreadyThere: an object exists under that key; it stays unchanged.
        """
        place = self._place(key)
        size, digest = measure(body)
        # The client keeps the time of the put, because the store's response does not contain one.
        stored = Stored(key, size, digest.hex(), metadata, datetime.now(UTC))
        headers = headers_of(stored) | {"ChecksumSHA256": b64encode(digest).decode()}
        attempts = 0

        def attempt(client: Any) -> None:
            nonlocal attempts
            attempts += 1
            with sendable(body) as content:
                try:
                    client.put_object(**place, **headers, Body=content, IfNoneMatch="*")
                except ClientError as error:
                    if status_of(error) != 412:
                        raise
                    # An earlier attempt of this put may have stored the object although its response was lost; the time
                    # shows it.
                    if attempts == 1 or self._head(client, key) != stored:
                        raise AlreadyThere from None

        self._s3.call(f"put {key}", attempt)
        return stored

    def get(self, key: str) -> tuple[bytes, Stored]:
        """Return the whole body, and what is known of the object.

        Raises:
            NoSuchObject: no object exists under that key.
            DamagedObject: the object has other bytes than were put.
        """
        check_key(key)

        def attempt(client: Any) -> tuple[bytes, Stored]:
            with self._open(client, key) as opened:
                return b"".join(opened), opened.stored

        return self._s3.call(f"get {key}", attempt)

    def head(self, key: str) -> Stored | None:
        check_key(key)
        return self._s3.call(f"head {key}", lambda client: self._head(client, key))

    def open(self, key: str) -> Opened:
        """Open the object for reading in chunks; the caller closes it.

        Reading raises `OSError` if the store stops sending, and `DamagedObject` if the bytes are wrong. Wrong bytes are
        noticed before the last chunk is returned.

        Raises:
            NoSuchObject: no object exists under that key.
        """
        check_key(key)
        return self._s3.call(f"open {key}", lambda client: self._open(client, key))

    def delete(self, key: str) -> None:
        place = self._place(key)
        self._s3.call(f"delete {key}", lambda client: client.delete_object(**place))

    def erase(self, place: str) -> int:
        """Delete an object, or for "a/b/" every object whose key starts so, with all versions; return how many existed.

        Also needs the rights s3:ListBucketVersions, s3:DeleteObjectVersion, s3:ListBucketMultipartUploads and
        s3:AbortMultipartUpload.

        Raises:
            OSError: an outage; or the store or the credentials do not allow it.
        """
        check_key(place.removesuffix("/"))
        prefix = self._prefix + place
        keys: set[str] = set()
        # A store without versions lists each object as its only version.
        for answer in self._pages("list_object_versions", prefix, ("KeyMarker", "VersionIdMarker")):
            for item in (*answer.get("Versions", ()), *answer.get("DeleteMarkers", ())):
                if item["Key"] == prefix or prefix.endswith("/"):
                    keys.add(item["Key"])
                    self._delete_version(item["Key"], item["VersionId"])
        for answer in self._pages("list_multipart_uploads", prefix, ("KeyMarker", "UploadIdMarker")):
            for item in answer.get("Uploads", ()):
                if item["Key"] == prefix or prefix.endswith("/"):
                    self._abort(item["Key"], item["UploadId"])
        return len(keys)

    def list(self, prefix: str) -> Iterator[str]:
        """Yield every key that starts with `prefix`, in the order of its characters.

        Holds the keys of one folder directly below the prefix in memory at a time.
        """
        above = check_prefix(prefix).rpartition("/")[0]
        return _in_order(self._listed(prefix), len(above and above + "/"))

    def local_path(self, key: str) -> Path | None:
        """Return None: no object is on this machine."""
        check_key(key)
        return None

    @contextmanager
    def as_file(self, key: str) -> Iterator[Path]:
        """Provide the body as a temporary file for the block, fetched in chunks.

        Raises:
            NoSuchObject: no object exists under that key.
            DamagedObject: the object has other bytes than were put.
        """
        check_key(key)
        with NamedTemporaryFile(dir=self._scratch, prefix="fetched-") as file:

            def attempt(client: Any) -> None:
                with self._open(client, key) as opened:
                    _refill(file, opened)

            self._s3.call(f"get {key}", attempt)
            yield Path(file.name)

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + check_key(key)}

    def _head(self, client: Any, key: str) -> Stored | None:
        try:
            answer = client.head_object(**self._place(key), ChecksumMode="ENABLED")
        except ClientError as error:
            if status_of(error) != 404:
                raise
            # HEAD answers 404 for a missing bucket, too.
            if not self._bucket_seen:
                client.head_bucket(Bucket=self._bucket)
                self._bucket_seen = True
            return None
        return stored_of(key, answer)

    def _open(self, client: Any, key: str) -> Opened:
        try:
            answer = client.get_object(**self._place(key), ChecksumMode="ENABLED")
        except client.exceptions.NoSuchKey:
            raise NoSuchObject(key) from None
        try:
            stored = stored_of(key, answer)
        except BaseException:
            answer["Body"].close()
            raise
        return Opened(stored, Body(answer["Body"], stored))

    def _pages(self, operation: str, prefix: str, markers: tuple[str, str]) -> Iterator[dict[str, Any]]:
        question: dict[str, Any] = {"Bucket": self._bucket, "Prefix": prefix, _MOST[operation]: PAGE_KEYS}
        while True:
            answer = self._s3.call(f"{operation} {prefix}", partial(_ask, operation, question))
            yield answer
            if not answer.get("IsTruncated"):
                return
            question |= {marker: answer[f"Next{marker}"] for marker in markers if answer.get(f"Next{marker}")}

    def _delete_version(self, key: str, version: str) -> None:
        place = {"Bucket": self._bucket, "Key": key, "VersionId": version}
        self._s3.call(f"delete {key}", lambda client: client.delete_object(**place))

    def _abort(self, key: str, upload: str) -> None:
        place = {"Bucket": self._bucket, "Key": key, "UploadId": upload}

        def attempt(client: Any) -> None:
            with suppress(client.exceptions.NoSuchUpload):
                client.abort_multipart_upload(**place)

        self._s3.call(f"abort an upload of {key}", attempt)

    def _listed(self, prefix: str) -> Iterator[str]:
        question: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._prefix + prefix, "MaxKeys": PAGE_KEYS}
        while True:
            answer = self._s3.call(f"list {prefix}*", lambda client: client.list_objects_v2(**question))
            for item in answer.get("Contents", ()):
                key = item["Key"].removeprefix(self._prefix)
                if _is_key(key):
                    yield key
            if not answer["IsTruncated"]:
                return
            question["ContinuationToken"] = answer["NextContinuationToken"]


def _ask(operation: str, question: dict[str, Any], client: Any) -> dict[str, Any]:
    answer: dict[str, Any] = getattr(client, operation)(**question)
    return answer


def _refill(file: IO[bytes], chunks: Iterable[bytes]) -> None:
    # An attempt that broke off has left a part of the body in the file.
    file.seek(0)
    file.truncate()
    for chunk in chunks:
        file.write(chunk)
    file.flush()


def _is_key(text: str) -> bool:
    try:
        check_key(text)
    except ValueError:
        return False
    return True


def _in_order(keys: Iterable[str], start: int) -> Iterator[str]:
    """Sort keys by their characters that a store lists folder by folder.

    AWS lists "a-b" before "a/b"; SeaweedFS lists the folder "a" first. Only a name that begins with the folder's name
    and "-" or "." belongs before the folder's keys, and a store lists it right after them.

    Args:
        start: where in each key the name of the folder starts.

    >>> list(_in_order(["a/b", "a/c", "a-b", "a0"], 0))
    ['a-b', 'a/b', 'a/c', 'a0']
    """
    held: list[str] = []
    folder = ""
    for key in keys:
        name = key[start:].partition("/")[0]
        if name != folder and not name.startswith((f"{folder}-", f"{folder}.")):
            yield from sorted(held)
            held, folder = [], name
        held.append(key)
    yield from sorted(held)
