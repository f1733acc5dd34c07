"""Enumerations. Names are the contract; a core value of the same name stands behind each that is in use."""

from enum import Enum
from typing import Any, TypeVar

import strawberry

from packshot import geometry, model
from packshot.catalog.clients import uploads
from packshot.catalog.packs import packs
from packshot.catalog.variants import ledger
from packshot.catalog.work import jobs, orders
from resolvers import jobs as jobs_resolvers
from resolvers import pack_imports
from resolvers.changing import changes

E = TypeVar("E", bound=Enum)


def _value(name: str, description: str) -> Any:
    return strawberry.enum_value(name, description=description)


@strawberry.enum(description="Which part of a picture is kept, or where in its box it is put.")
class Gravity(Enum):
    CENTER = _value("CENTER", "The middle.")
    NORTH = _value("NORTH", "The middle of the top edge.")
    NORTHEAST = _value("NORTHEAST", "The top right corner.")
    EAST = _value("EAST", "The middle of the right edge.")
    SOUTHEAST = _value("SOUTHEAST", "The bottom right corner.")
    SOUTH = _value("SOUTH", "The middle of the bottom edge.")
    SOUTHWEST = _value("SOUTHWEST", "The bottom left corner.")
    WEST = _value("WEST", "The middle of the left edge.")
    NORTHWEST = _value("NORTHWEST", "The top left corner.")
    FOCUS = _value("FOCUS", "The pack location's focal point; the middle where it has none.")
    SMART = _value("SMART", "The part of the picture where most is to be seen.")


@strawberry.enum(description="Whether a picture of another ratio is shown whole, with padding, or cropped.")
class IncludeAll(Enum):
    UNSET = _value("UNSET", "Nothing is said here; the next in line decides.")
    TRUE = _value("TRUE", "The whole picture is shown, with transparent padding.")
    FALSE = _value("FALSE", "The picture is cropped to fill its box.")


@strawberry.enum(description="An image format that is written.")
class ImageFormat(Enum):
    AVIF = _value("AVIF", "AVIF, the smallest.")
    WEBP = _value("WEBP", "WebP.")
    JPEG = _value("JPEG", "JPEG, which has no transparency.")
    PNG = _value("PNG", "PNG, without loss.")
    GIF = _value("GIF", "GIF, for animations where WebP cannot be shown.")


@strawberry.enum(description="Which format a URL without `format` gives.")
class FormatPolicy(Enum):
    AUTO = _value("AUTO", "The best that the client says it accepts.")
    ORIGINAL = _value("ORIGINAL", "The original's own where that is JPEG, PNG, WebP or animated GIF; else JPEG or PNG.")
    AVIF = _value("AVIF", "Always AVIF.")
    WEBP = _value("WEBP", "Always WebP.")
    JPEG = _value("JPEG", "Always JPEG.")
    PNG = _value("PNG", "Always PNG.")


@strawberry.enum(description="Which variants besides the planned ones clients can have rendered.")
class OnDemandPolicy(Enum):
    ANY = _value("ANY", "Every one that a URL can name.")
    STEPS = _value("STEPS", "Sizes, quality, blur and the rest snap to a ladder.")
    RENDITIONS = _value("RENDITIONS", "None: other requests are refused.")
    SIGNED = _value("SIGNED", "Every one, with a URL that is signed or an access key.")


@strawberry.enum(description="When a changed location goes live.")
class Activation(Enum):
    WHEN_READY = _value("WHEN_READY", "Once every affected pack has been rendered for it.")
    IMMEDIATE = _value("IMMEDIATE", "At once; what is not rendered yet is rendered on demand.")


@strawberry.enum(description="Who waits for a job.")
class Priority(Enum):
    INTERACTIVE = _value("INTERACTIVE", "A person does; it goes first.")
    BULK = _value("BULK", "Nobody does; it yields to interactive work.")


@strawberry.enum(description="What `regenerate` renders.")
class RegenerateMode(Enum):
    MISSING = _value("MISSING", "What the ledger or the store lacks.")
    REFRESH = _value(
        "REFRESH", "Everything again, by the renderer of this release; the old stays live until the new is ready."
    )


@strawberry.enum(description="How a variant stands.")
class VariantState(Enum):
    PENDING = _value("PENDING", "Still to be rendered ahead of time; its URL renders it on demand.")
    READY = _value("READY", "Stored.")
    FAILED = _value("FAILED", "It could not be rendered, three times, by the image's own fault.")


@strawberry.enum(description="Why something is done in the background.")
class JobKind(Enum):
    REGENERATE = _value("REGENERATE", "Packs are brought up to date, after an edit or by `regenerate`.")
    LOCATION_CHANGE = _value("LOCATION_CHANGE", "A location was created or changed.")
    IMPORT = _value("IMPORT", "Originals of new packs are fetched. It counts those, not variants.")
    PURGE = _value("PURGE", "CDN copies are removed, by `purge`. It counts packs, or the location or tenant as one.")
    ERASE = _value(
        "ERASE", "A pack's bytes are removed for good. It counts blobs; skipped are originals that others show."
    )
    COLLECT = _value(
        "COLLECT", "What is superseded is removed after its grace period. Skipped is what is needed again."
    )
    SCRUB = _value(
        "SCRUB", "Stored bytes are compared with the ledger. Done is what was mended, skipped what was right."
    )


@strawberry.enum(description="How a job stands.")
class JobState(Enum):
    QUEUED = _value("QUEUED", "Not begun.")
    RUNNING = _value("RUNNING", "Under way.")
    PAUSED = _value("PAUSED", "Stopped by a person until a person resumes it.")
    AWAITING_ACTIVATION = _value("AWAITING_ACTIVATION", "Rendered with failures; a person decides.")
    CANCELLING = _value("CANCELLING", "About to stop.")
    CANCELLED = _value("CANCELLED", "Stopped for good by a person.")
    SUCCEEDED = _value("SUCCEEDED", "Ended without a failure.")
    PARTIAL = _value("PARTIAL", "Ended with some failures.")
    FAILED = _value("FAILED", "Ended with nothing but failures.")
    SUPERSEDED = _value("SUPERSEDED", "A newer job does its work.")


@strawberry.enum(description="How the bytes of an upload are to be sent.")
class UploadMethod(Enum):
    PRESIGNED_POST = _value("PRESIGNED_POST", "A multipart form, to the store itself if that is S3.")
    PRESIGNED_PUT = _value("PRESIGNED_PUT", "The raw body, of the announced length, to the store itself if that is S3.")
    ONE_TIME_TOKEN = _value("ONE_TIME_TOKEN", "The raw body with a token, to this application.")


@strawberry.enum(description="What `createPacks` does about a pack that has the asset or external id already.")
class OnExisting(Enum):
    FAIL = _value("FAIL", "Refuses that one input, as TAKEN.")
    SKIP = _value("SKIP", "Leaves the pack as it is.")
    UPDATE = _value("UPDATE", "Sets what is said, and takes its originals again.")


@strawberry.enum(description="How packs are listed.")
class PackOrder(Enum):
    CREATED_DESC = _value("CREATED_DESC", "Newest first.")
    CREATED_ASC = _value("CREATED_ASC", "Oldest first.")
    MODIFIED_DESC = _value("MODIFIED_DESC", "Last modified first.")
    SEQUENCE_ASC = _value("SEQUENCE_ASC", "By sequence number: for following every change.")


@strawberry.enum(description="What kind of refusal it is, for programs.")
class ErrorCode(Enum):
    INVALID = _value("INVALID", "A value does not fit its rule.")
    NOT_FOUND = _value("NOT_FOUND", "Nothing of that name or id in this tenant.")
    TAKEN = _value("TAKEN", "A value that must be unique belongs to something else already.")
    IN_USE = _value("IN_USE", "Something else still refers to it.")
    CYCLE = _value("CYCLE", "A fallback chain would lead back to itself.")
    FORBIDDEN = _value("FORBIDDEN", "The token's scopes do not allow it.")
    VERSION_CONFLICT = _value("VERSION_CONFLICT", "The object has moved on from the expected version.")
    FORCE_REQUIRED = _value("FORCE_REQUIRED", "The change alters pictures that packs show, and needs `force`.")
    PLAN_STALE = _value("PLAN_STALE", "What was planned no longer holds.")
    IDEMPOTENCY_MISMATCH = _value("IDEMPOTENCY_MISMATCH", "That key came before with other arguments.")
    LIMIT = _value("LIMIT", "A list or page is longer than allowed.")
    BAD_STATE = _value("BAD_STATE", "The object is not in a state in which this can be done.")
    FETCH_BLOCKED = _value("FETCH_BLOCKED", "That address must not be fetched from.")
    FETCH_FAILED = _value("FETCH_FAILED", "The address did not give a picture.")
    UPLOAD_EXPIRED = _value("UPLOAD_EXPIRED", "The upload's 15 minutes are over.")
    CHECKSUM_MISMATCH = _value("CHECKSUM_MISMATCH", "The bytes received are not the bytes announced.")
    UNSUPPORTED_MEDIA = _value("UNSUPPORTED_MEDIA", "The bytes are no image of an accepted format.")
    TOO_LARGE = _value("TOO_LARGE", "More bytes or pixels than the limit allows.")
    UNRENDERABLE = _value("UNRENDERABLE", "The image is damaged, or cannot be drawn in that shape.")
    RENDER_TIMEOUT = _value("RENDER_TIMEOUT", "Rendering took longer than the limit.")
    RESYNC = _value("RESYNC", "What happened since that cursor of `changes` is not known any more; start over.")
    INTERNAL = _value("INTERNAL", "Something unforeseen went wrong; the log has it by the error id in the message.")


@strawberry.enum(description="What happened to a pack or a location.")
class ChangeKind(Enum):
    PACK_CHANGED = _value("PACK_CHANGED", "A pack was made, or anything of it was set.")
    PACK_DELETED = _value("PACK_DELETED", "A pack was deleted.")
    PACK_ERASED = _value("PACK_ERASED", "A pack was erased: no copy of its pictures must be kept.")
    LOCATION_CHANGED = _value(
        "LOCATION_CHANGED", "A location was created or changed, or its pictures were rendered again."
    )
    LOCATION_DELETED = _value("LOCATION_DELETED", "A location was deleted, with all that packs had there.")


_CORE: dict[type[Enum], type[Enum]] = {
    Gravity: geometry.Gravity,
    IncludeAll: model.IncludeAll,
    ImageFormat: model.Format,
    Priority: orders.Priority,
    PackOrder: packs.PackOrder,
    JobKind: jobs.JobKind,
    JobState: jobs.JobState,
    VariantState: ledger.VariantState,
    FormatPolicy: model.FormatPolicy,
    OnDemandPolicy: model.OnDemand,
    UploadMethod: uploads.UploadMethod,
    OnExisting: pack_imports.OnExisting,
    Activation: changes.Activation,
    RegenerateMode: jobs_resolvers.RegenerateMode,
}


def core(value: Enum) -> Any:
    """Return the core value behind a GraphQL one.

    Raises:
        KeyError: there is none yet; nothing in the catalog can have it.
    """
    return _CORE[type(value)][value.name]


def graphql_gravity(value: geometry.Gravity | None) -> Gravity | None:
    """Return the GraphQL value of a gravity that may be unset."""
    return None if value is None else Gravity[value.name]
