"""Presigned requests by which clients access a bucket directly, and the objects that clients put."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from packshot.durable_files import private
from packshot.storage.base import CHUNK_BYTES, DirectAccess, NoSuchObject, Ticket, TooManyBytes, check_key
from packshot.storage.s3_client import Damaged, S3Client


class S3DirectAccess(DirectAccess):
    """Sign requests for clients, and read what they put. Such objects lack Packshot's metadata.

    Args:
        prefix: text before every key in the bucket.
        signer: client for the bucket at the address that clients use.
    """

    def __init__(self, prefix: str, client: S3Client, signer: S3Client) -> None:
        self._prefix = prefix
        self._client = client
        self._signer = signer

    def sign_get(self, key: str, *, seconds: int, headers: Mapping[str, str]) -> str:
        parameters = self._place(key) | dict(headers)
        signed: str = self._signer.call(
            f"sign {key}",
            lambda client: client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds),
        )
        return signed

    def sign_put(self, key: str, *, content_type: str, size: int, seconds: int) -> Ticket:
        parameters = self._place(key) | {"ContentType": content_type, "ContentLength": size}
        url: str = self._signer.call(
            f"sign {key}",
            lambda client: client.generate_presigned_url("put_object", Params=parameters, ExpiresIn=seconds),
        )
        return Ticket(url, "PUT", headers={"Content-Type": content_type})

    def sign_post(self, key: str, *, content_type: str, most: int, seconds: int) -> Ticket:
        place = self._place(key)
        post: dict[str, Any] = self._signer.call(
            f"sign {key}",
            lambda client: client.generate_presigned_post(
                **place,
                Fields={"Content-Type": content_type},
                Conditions=[["content-length-range", 1, most], {"Content-Type": content_type}],
                ExpiresIn=seconds,
            ),
        )
        return Ticket(post["url"], "POST", fields=post["fields"])

    def receive(self, key: str, into: Path, *, max_bytes: int) -> tuple[int, str]:
        check_key(key)
        return self._client.call(f"get {key}", lambda client: self._receive(client, key, into, max_bytes))

    def _receive(self, client: Any, key: str, into: Path, max_bytes: int) -> tuple[int, str]:
        try:
            answer = client.get_object(**self._place(key))
        except client.exceptions.NoSuchKey:
            raise NoSuchObject(key) from None
        size, digest = 0, sha256()
        body = answer["Body"]
        try:
            if answer["ContentLength"] > max_bytes:
                raise TooManyBytes
            with open(into, "wb", opener=private) as file:
                while chunk := body.read(CHUNK_BYTES):
                    size += len(chunk)
                    if size > max_bytes:
                        raise TooManyBytes
                    digest.update(chunk)
                    file.write(chunk)
        finally:
            body.close()
        if size != answer["ContentLength"]:
            raise Damaged(f"{key}: expected {answer['ContentLength']} bytes, got {size}")
        return size, digest.hexdigest()

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self._client.bucket, "Key": self._prefix + check_key(key)}
