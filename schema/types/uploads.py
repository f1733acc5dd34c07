"""Uploads: where to send the bytes of an original."""

from datetime import datetime

import strawberry

from packshot.catalog.clients import uploads as catalog
from packshot.storage.base import Ticket
from resolvers.originals import Source
from schema.base.enums import UploadMethod
from schema.base.scalars import URL, Long


@strawberry.type(description="A name and its value.")
class KeyValue:
    name: str = strawberry.field(description="The name.")
    value: str = strawberry.field(description="The value.")


@strawberry.type(
    description="Where to send the bytes: when `fields` is empty, the raw body by `method` with `headers`; "
    "else multipart with those fields first and the part `file` last."
)
class Upload:
    id: strawberry.ID = strawberry.field(description="For `setOriginal`, once the bytes are sent.")
    url: URL = strawberry.field(description="Where to send them.")
    method: str = strawberry.field(description="The HTTP method.")
    fields: list[KeyValue] = strawberry.field(description="Form fields to send before the file.")
    headers: list[KeyValue] = strawberry.field(description="Headers to send.")
    max_bytes: Long = strawberry.field(description="How many bytes are accepted: as many as were announced.")
    expires_at: datetime = strawberry.field(description="Until when: 15 minutes. The application takes one attempt.")

    @classmethod
    def of(cls, upload: catalog.Upload, ticket: Ticket) -> "Upload":
        return cls(
            id=strawberry.ID(upload.id),
            url=URL(ticket.url),
            method=ticket.method,
            fields=[KeyValue(name=name, value=value) for name, value in ticket.fields.items()],
            headers=[KeyValue(name=name, value=value) for name, value in ticket.headers.items()],
            max_bytes=Long(upload.max_bytes),
            expires_at=upload.expires_at,
        )


@strawberry.input(description="What is about to be uploaded.")
class UploadInput:
    media_type: str = strawberry.field(
        description="image/jpeg or the like; empty or application/octet-stream if it is not known. "
        "Parameters are ignored. The bytes decide."
    )
    bytes: Long = strawberry.field(description="At most how many bytes; for PRESIGNED_PUT exactly.")
    sha256: str | None = strawberry.field(
        default=strawberry.UNSET, description="SHA-256 of the bytes, in hex; other bytes are refused then."
    )
    method: UploadMethod = strawberry.field(
        default=UploadMethod.PRESIGNED_POST,
        description="How they are to be sent; the answer's shape is the same for all. Do what the answer says: where "
        "the store does not take them so, it is another method.",
    )


@strawberry.input(one_of=True, description="Where an original comes from: exactly one of these.")
class OriginalSource:
    upload_id: strawberry.Maybe[strawberry.ID] = strawberry.field(description="An upload whose bytes were sent.")
    url: strawberry.Maybe[URL] = strawberry.field(
        description="An address, http or https, of a public host; what kind of picture it is, its bytes tell."
    )

    def to_core(self) -> Source:
        if self.url is not None:
            return Source(url=self.url.value)
        assert self.upload_id is not None
        return Source(upload_id=self.upload_id.value)
