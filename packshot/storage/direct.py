"""What clients do with a bucket past the application: signed addresses, and the objects that they put there."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from packshot.storage.base import CHUNK_BYTES, NoSuchObject, Ticket, TooManyBytes, check_key
from packshot.storage.durable import private
from packshot.storage.s3_client import Damaged, S3Client


class Direct:
    """Signs for clients, and reads what they put; such objects have none of Packshot's metadata.

    Args:
        prefix: what every key has before it in the bucket.
        signer: the bucket by the address that clients know.
    """

    def __init__(self, prefix: str, client: S3Client, signer: S3Client) -> None:
        self._prefix = prefix
        self._client = client
        self._signer = signer

    def sign_get(self, key: str, *, seconds: int, headers: Mapping[str, str]) -> str:
        """Return an address that gives the object for so long, with these headers in the answer.

        Args:
            headers: Content-Type, Content-Disposition and Cache-Control, as S3 names its parameters:
                `ResponseContentType` and so on.
        """
        parameters = self._place(key) | dict(headers)
        signed: str = self._signer.call(
            f"sign {key}",
            lambda client: client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds),
        )
        return signed

    def sign_put(self, key: str, *, content_type: str, size: int, seconds: int) -> Ticket:
        """Let a client put an object of exactly `size` bytes, by the raw body."""
        parameters = self._place(key) | {"ContentType": content_type, "ContentLength": size}
        url: str = self._signer.call(
            f"sign {key}",
            lambda client: client.generate_presigned_url("put_object", Params=parameters, ExpiresIn=seconds),
        )
        return Ticket(url, "PUT", headers={"Content-Type": content_type})

    def sign_post(self, key: str, *, content_type: str, most: int, seconds: int) -> Ticket:
        """Let a client put an object of 1 to `most` bytes, by a form."""
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
        """Read what a client put into the file `into`; return its size and SHA-256.

        It is read once, and its digest is that of the very bytes in the file: the
        client may put others at any moment.

        Raises:
            NoSuchObject: nothing is under that key.
            TooManyBytes: more than `max_bytes`; reading stops there.
        """
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
            raise Damaged(f"{key}: {size} bytes came instead of {answer['ContentLength']}")
        return size, digest.hexdigest()

    def _place(self, key: str) -> dict[str, str]:
        return {"Bucket": self._client.bucket, "Key": self._prefix + check_key(key)}
