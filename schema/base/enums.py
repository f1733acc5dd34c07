"""GraphQL enums. Their names are the contract; each maps to a core enum with the same names."""

from enum import Enum
from typing import Any, TypeVar

import strawberry

from packshot import geometry, model
from packshot.catalog.clients import uploads
from packshot.catalog.packs import listing
from packshot.catalog.variants import ledger
from packshot.catalog.work import jobs, orders
from resolvers import jobs as jobs_resolvers
from resolvers import pack_imports
from resolvers.changing import decision

E = TypeVar("E", bound=Enum)


def _value(name: str, description: str) -> Any:
    return strawberry.enum_value(name, description=description)


@strawberry.enum(description="Which part of an image a crop keeps, or where a padded image lies in its box.")
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
    FOCUS = _value("FOCUS", "The focus of the pack location; the middle if it has none.")
    SMART = _value("SMART", "The most interesting part of the image, found by analysis.")


@strawberry.enum(description="Whether an image of another aspect ratio is padded or cropped.")
class IncludeAll(Enum):
    UNSET = _value("UNSET", "Not set here: the next level decides.")
    TRUE = _value("TRUE", "The whole image is shown, with transparent padding.")
    FALSE = _value("FALSE", "The image is cropped to fill its box.")


@strawberry.enum(description="An image format that Packshot writes.")
class ImageFormat(Enum):
    AVIF = _value("AVIF", "AVIF: usually the smallest files.")
    WEBP = _value("WEBP", "WebP.")
    JPEG = _value("JPEG", "JPEG: no transparency.")
    PNG = _value("PNG", "PNG: lossless.")
    GIF = _value("GIF", "GIF: for animations where the client does not support WebP.")


@strawberry.enum(description="The format of a URL that has no `format` parameter.")
class FormatPolicy(Enum):
    AUTO = _value("AUTO", "The best format that the client accepts.")
    ORIGINAL = _value(
        "ORIGINAL", "The format of the original if that is JPEG, PNG, WebP or animated GIF; otherwise JPEG or PNG."
    )
    AVIF = _value("AVIF", "Always AVIF.")
    WEBP = _value("WEBP", "Always WebP.")
    JPEG = _value("JPEG", "Always JPEG.")
    PNG = _value("PNG", "Always PNG.")


@strawberry.enum(description="Which unplanned variants clients can request.")
class OnDemandPolicy(Enum):
    ANY = _value("ANY", "Every variant that a URL can name.")
    STEPS = _value("STEPS", "Sizes, quality, blur and other numbers are rounded to fixed steps.")
    RENDITIONS = _value("RENDITIONS", "None: requests for unplanned variants are refused.")
    SIGNED = _value("SIGNED", "Every variant, if the URL is signed or the request has an access key.")


@strawberry.enum(description="When a changed location goes live.")
class Activation(Enum):
    WHEN_READY = _value("WHEN_READY", "When every affected pack has been rendered for it.")
    IMMEDIATE = _value("IMMEDIATE", "At once. Variants that are not stored yet are rendered on demand.")


@strawberry.enum(description="How urgent a job is.")
class Priority(Enum):
    INTERACTIVE = _value("INTERACTIVE", "A user waits for it: it runs first.")
    BULK = _value("BULK", "Background work: it yields to interactive work.")


@strawberry.enum(description="Which variants `regenerate` renders.")
class RegenerateMode(Enum):
    MISSING = _value("MISSING", "Variants that are missing in the ledger or in the store.")
    REFRESH = _value(
        "REFRESH",
        "Every variant again, under new immutable URLs. The old variants stay live until the new ones are stored.",
    )


@strawberry.enum(description="The state of a variant.")
class VariantState(Enum):
    PENDING = _value("PENDING", "Not rendered yet. Its URL renders it on demand.")
    READY = _value("READY", "Stored.")
    FAILED = _value("FAILED", "Rendering failed three times because of the original.")


@strawberry.enum(description="What a job does.")
class JobKind(Enum):
    REGENERATE = _value("REGENERATE", "Renders the variants of packs, after an edit or by `regenerate`.")
    LOCATION_CHANGE = _value("LOCATION_CHANGE", "Renders what the creation or the change of a location requires.")
    IMPORT = _value("IMPORT", "Fetches the originals of new packs. It counts originals, not variants.")
    PURGE = _value(
        "PURGE", "Removes copies from the CDN, by `purge`. It counts packs, or counts a location or the tenant as one."
    )
    ERASE = _value(
        "ERASE", "Erases a pack for good. It counts stored objects; originals that other packs use are skipped."
    )
    COLLECT = _value(
        "COLLECT", "Deletes superseded objects after their grace period. Objects that are needed again are skipped."
    )
    SCRUB = _value(
        "SCRUB", "Compares stored objects with the ledger. Repaired objects count as done, correct ones as skipped."
    )


@strawberry.enum(description="The state of a job.")
class JobState(Enum):
    QUEUED = _value("QUEUED", "Not started.")
    RUNNING = _value("RUNNING", "In progress.")
    PAUSED = _value("PAUSED", "Stopped until `resumeJob`.")
    AWAITING_ACTIVATION = _value(
        "AWAITING_ACTIVATION", "Some variants failed: `activateJob` activates the pending change nevertheless."
    )
    CANCELLING = _value("CANCELLING", "Being cancelled.")
    CANCELLED = _value("CANCELLED", "Cancelled.")
    SUCCEEDED = _value("SUCCEEDED", "Finished without failures.")
    PARTIAL = _value("PARTIAL", "Finished with some failures.")
    FAILED = _value("FAILED", "Finished with failures only.")
    SUPERSEDED = _value("SUPERSEDED", "Replaced by a newer job.")


@strawberry.enum(description="How the client sends the bytes of an upload.")
class UploadMethod(Enum):
    PRESIGNED_POST = _value("PRESIGNED_POST", "A multipart form, sent to the store itself if the store is S3.")
    PRESIGNED_PUT = _value(
        "PRESIGNED_PUT", "The raw body with the announced length, sent to the store itself if the store is S3."
    )
    ONE_TIME_TOKEN = _value("ONE_TIME_TOKEN", "The raw body with a one-time token, sent to this application.")


@strawberry.enum(description="What `createPacks` does if a pack with the same asset or external id exists.")
class OnExisting(Enum):
    FAIL = _value("FAIL", "Refuse that input with TAKEN.")
    SKIP = _value("SKIP", "Leave the pack as it is.")
    UPDATE = _value("UPDATE", "Set the given values, and replace the given originals.")


@strawberry.enum(description="The order of a list of packs.")
class PackOrder(Enum):
    CREATED_DESC = _value("CREATED_DESC", "Newest first.")
    CREATED_ASC = _value("CREATED_ASC", "Oldest first.")
    MODIFIED_DESC = _value("MODIFIED_DESC", "Most recently modified first.")
    SEQUENCE_ASC = _value("SEQUENCE_ASC", "By sequence number, to follow every change.")


@strawberry.enum(description="The kind of a refusal, for programs.")
class ErrorCode(Enum):
    INVALID = _value("INVALID", "A value breaks a rule.")
    NOT_FOUND = _value("NOT_FOUND", "The tenant has nothing with that name or id.")
    TAKEN = _value("TAKEN", "The value must be unique, and another object has it.")
    IN_USE = _value("IN_USE", "Another object still refers to it.")
    CYCLE = _value("CYCLE", "The fallbacks of locations would form a cycle.")
    FORBIDDEN = _value("FORBIDDEN", "The scopes of the token do not allow it.")
    VERSION_CONFLICT = _value("VERSION_CONFLICT", "The object has another version than the expected one.")
    FORCE_REQUIRED = _value("FORCE_REQUIRED", "The change alters images that packs show, and needs `force`.")
    PLAN_STALE = _value("PLAN_STALE", "The plan is no longer valid; plan again.")
    IDEMPOTENCY_MISMATCH = _value("IDEMPOTENCY_MISMATCH", "The idempotency key was used before with other arguments.")
    LIMIT = _value("LIMIT", "A list or a page is longer than allowed.")
    BAD_STATE = _value("BAD_STATE", "The state of the object does not allow it.")
    FETCH_BLOCKED = _value(
        "FETCH_BLOCKED", "Packshot must not fetch from that address, for example in an internal network."
    )
    FETCH_FAILED = _value("FETCH_FAILED", "No image could be fetched from that address.")
    UPLOAD_EXPIRED = _value("UPLOAD_EXPIRED", "The upload expired after 15 minutes.")
    CHECKSUM_MISMATCH = _value("CHECKSUM_MISMATCH", "The received bytes differ from the announced checksum.")
    UNSUPPORTED_MEDIA = _value("UNSUPPORTED_MEDIA", "The bytes are not an image in an accepted format.")
    TOO_LARGE = _value("TOO_LARGE", "More bytes or pixels than the limit allows.")
    UNRENDERABLE = _value("UNRENDERABLE", "The image is damaged, or cannot be rendered with these parameters.")
    RENDER_TIMEOUT = _value("RENDER_TIMEOUT", "Rendering took longer than the limit.")
    RESYNC = _value("RESYNC", "The changes since that cursor of `changes` are no longer known; start over.")
    INTERNAL = _value("INTERNAL", "A fault in Packshot; the log contains it under the error id in the message.")


@strawberry.enum(description="What happened to a pack or a location.")
class ChangeKind(Enum):
    PACK_CHANGED = _value("PACK_CHANGED", "A pack was created or changed.")
    PACK_DELETED = _value("PACK_DELETED", "A pack was deleted.")
    PACK_ERASED = _value("PACK_ERASED", "A pack was erased; delete every copy of its images.")
    LOCATION_CHANGED = _value(
        "LOCATION_CHANGED", "A location was created or changed, or its images were rendered again."
    )
    LOCATION_DELETED = _value("LOCATION_DELETED", "A location was deleted, together with its pack locations.")


_CORE: dict[type[Enum], type[Enum]] = {
    Gravity: geometry.Gravity,
    IncludeAll: model.IncludeAll,
    ImageFormat: model.Format,
    Priority: orders.Priority,
    PackOrder: listing.PackOrder,
    JobKind: jobs.JobKind,
    JobState: jobs.JobState,
    VariantState: ledger.VariantState,
    FormatPolicy: model.FormatPolicy,
    OnDemandPolicy: model.OnDemand,
    UploadMethod: uploads.UploadMethod,
    OnExisting: pack_imports.OnExisting,
    Activation: decision.Activation,
    RegenerateMode: jobs_resolvers.RegenerateMode,
}


def core(value: Enum) -> Any:
    """Return the core value of a GraphQL enum value.

    Raises:
        KeyError: no core value exists for it yet, so no row can hold it.
    """
    return _CORE[type(value)][value.name]


def graphql_gravity(value: geometry.Gravity | None) -> Gravity | None:
    """Return the GraphQL value of a gravity; None if it is not set."""
    return None if value is None else Gravity[value.name]
