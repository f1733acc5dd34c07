"""GraphQL types of uploads: where to send the bytes of an original."""

from datetime import datetime

import strawberry

from packshot.catalog.clients import uploads as catalog
from packshot.storage.base import Ticket
from resolvers.originals import Source
from schema.base.enums import UploadMethod
from schema.base.scalars import URL, Long


@strawberry.type(description="A header or form field that the client must send.")
class KeyValue:
    name: str = strawberry.field(description="The name.")
    value: str = strawberry.field(description="The value.")


@strawberry.type(
    description="How to send the bytes. If `fields` is empty, send the raw body by `method` with `headers`; "
    "otherwise a multipart form with these fields first and the part `file` last."
)
class Upload:
    id: strawberry.ID = strawberry.field(description="The id for `setOriginal`, once the bytes are sent.")
    url: URL = strawberry.field(description="The URL to send the bytes to.")
    method: str = strawberry.field(description="The HTTP method: POST or PUT.")
    fields: list[KeyValue] = strawberry.field(description="Form fields to send before the file.")
    headers: list[KeyValue] = strawberry.field(description="Headers to send.")
    max_bytes: Long = strawberry.field(description="The maximum number of bytes, as announced.")
    expires_at: datetime = strawberry.field(
        description="When the upload expires: after 15 minutes. The application accepts one attempt to send the bytes."
    )

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


@strawberry.input(description="What will be uploaded, and how.")
class UploadInput:
    media_type: str = strawberry.field(
        description="The media type, such as image/jpeg; empty or application/octet-stream if unknown. Parameters "
        "are ignored. The bytes decide."
    )
    bytes: Long = strawberry.field(description="The maximum number of bytes; for PRESIGNED_PUT the exact number.")
    sha256: str | None = strawberry.field(
        default=strawberry.UNSET, description="SHA-256 of the bytes, 64 hex digits. If given, other bytes are refused."
    )
    method: UploadMethod = strawberry.field(
        default=UploadMethod.PRESIGNED_POST,
        description="How to send the bytes. All methods have the same form of response. If the store does not support "
        "the method, the "
        "response has another one, so follow the response.",
    )


@strawberry.input(one_of=True, description="The source of an original: exactly one of these.")
class OriginalSource:
    upload_id: strawberry.Maybe[strawberry.ID] = strawberry.field(
        description="The id of an upload whose bytes were sent."
    )
    url: strawberry.Maybe[URL] = strawberry.field(
        description="An http or https URL on a public host, such as https://example.com/photo.jpg. The bytes decide "
        "the format."
    )

    def to_core(self) -> Source:
        if self.url is not None:
            return Source(url=self.url.value)
        assert self.upload_id is not None
        return Source(upload_id=self.upload_id.value)
