"""One tree of refusals.

A `PackshotError` means: asking again gets the same answer. Whatever else is
raised is an outage or a bug, and is retried, logged and answered with a 5xx.
Nothing here knows HTTP or GraphQL; each edge maps the tree once.
"""

from enum import StrEnum
from typing import Any, ClassVar


class ErrorCode(StrEnum):
    """What kind of refusal it is, for programs."""

    INVALID = "INVALID"
    NOT_FOUND = "NOT_FOUND"
    TAKEN = "TAKEN"
    IN_USE = "IN_USE"
    CYCLE = "CYCLE"
    FORBIDDEN = "FORBIDDEN"
    VERSION_CONFLICT = "VERSION_CONFLICT"
    FORCE_REQUIRED = "FORCE_REQUIRED"
    PLAN_STALE = "PLAN_STALE"
    IDEMPOTENCY_MISMATCH = "IDEMPOTENCY_MISMATCH"
    LIMIT = "LIMIT"
    BAD_STATE = "BAD_STATE"
    FETCH_BLOCKED = "FETCH_BLOCKED"
    FETCH_FAILED = "FETCH_FAILED"
    UPLOAD_EXPIRED = "UPLOAD_EXPIRED"
    CHECKSUM_MISMATCH = "CHECKSUM_MISMATCH"
    UNSUPPORTED_MEDIA = "UNSUPPORTED_MEDIA"
    TOO_LARGE = "TOO_LARGE"
    UNRENDERABLE = "UNRENDERABLE"
    RENDER_TIMEOUT = "RENDER_TIMEOUT"
    RESYNC = "RESYNC"
    INTERNAL = "INTERNAL"


class PackshotError(Exception):
    """A refusal, with what was expected and what was got.

    Args:
        message: one sentence for a person, shortened to 1,000 characters: it may quote what a client sent.
        field: path of the offending value in snake case, innermost last.
        expected: what would have been accepted.
        got: what came instead, shortened to 100 characters.

    Attributes:
        undecodable: the original itself is refused, so every other drawing of it is refused as well.
    """

    code: ClassVar[ErrorCode]
    undecodable: bool = False

    def __init__(
        self, message: str, *, field: tuple[str, ...] = (), expected: str | None = None, got: object = None
    ) -> None:
        self.message = _short(message, 1000)
        super().__init__(self.message)
        self.field = field
        self.expected = expected
        # JSON has no lone surrogate, though what a client sent may spell one.
        self.got = None if got is None else _short(str(got)).encode(errors="replace").decode()

    def __reduce__(self) -> tuple[Any, ...]:
        # Refusals travel from the render processes; the default would lose the keywords.
        return _revive, (type(self), dict(self.__dict__))

    def at(self, *prefix: str) -> "PackshotError":
        """Put `prefix` before the field path, as the error climbs out of nested input."""
        self.field = (*prefix, *self.field)
        return self


def describe(error: PackshotError) -> str:
    """Return in one line why something is refused, with what was expected and what was got."""
    details = [f"expected {error.expected}"] * (error.expected is not None) + [f"got {error.got}"] * (
        error.got is not None
    )
    return f"{error.message} ({', '.join(details)})" if details else error.message


def _revive(kind: type[PackshotError], state: dict[str, Any]) -> PackshotError:
    error = kind.__new__(kind)
    Exception.__init__(error, state["message"])
    error.__dict__.update(state)
    return error


def _short(text: str, limit: int = 100) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def dump_error(error: PackshotError) -> dict[str, Any]:
    """Return a refusal as JSON can keep it; `load_error` makes it again."""
    return {"code": error.code.value, **error.__dict__}


def load_error(kept: dict[str, Any]) -> PackshotError:
    """Return the refusal that `dump_error` was given."""
    (kind,) = (kind for kind in PackshotError.__subclasses__() if kind.code.value == kept["code"])
    state = {name: value for name, value in kept.items() if name != "code"}
    return _revive(kind, state | {"field": tuple(kept["field"])})


class Invalid(PackshotError):
    """A value does not fit its rule."""

    code = ErrorCode.INVALID


class NotFound(PackshotError):
    """Nothing of that name or id in this tenant."""

    code = ErrorCode.NOT_FOUND


class Gone(NotFound):
    """The pack was erased: it is not found, and never will be again."""


class Taken(PackshotError):
    """A value that must be unique belongs to something else already."""

    code = ErrorCode.TAKEN

    def __init__(self, message: str, *, existing_id: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.existing_id = existing_id


class InUse(PackshotError):
    """Others depend on the object; with `force` it is done all the same."""

    code = ErrorCode.IN_USE


class Cycle(PackshotError):
    """A fallback chain would lead back to itself."""

    code = ErrorCode.CYCLE


class Forbidden(PackshotError):
    """The caller's token lacks the scope."""

    code = ErrorCode.FORBIDDEN


class VersionConflict(PackshotError):
    """The object has moved on from the version the caller expected."""

    code = ErrorCode.VERSION_CONFLICT

    def __init__(self, message: str, *, current_version: int, current_id: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.current_version = current_version
        self.current_id = current_id


class ForceRequired(PackshotError):
    """The change alters pictures that are shown; with `force` it is done all the same.

    Attributes:
        plan: what the change would cost, a `resolvers.changing.plans.LocationPlan`.
    """

    code = ErrorCode.FORCE_REQUIRED

    def __init__(self, message: str, *, plan: Any, **details: Any) -> None:
        super().__init__(message, **details)
        self.plan = plan


class PlanStale(PackshotError):
    """The plan has expired, was made for another change, or the configuration has moved on since."""

    code = ErrorCode.PLAN_STALE


class IdempotencyMismatch(PackshotError):
    """The idempotency key belongs to another call."""

    code = ErrorCode.IDEMPOTENCY_MISMATCH


class Limit(PackshotError):
    """A list or page is longer than allowed."""

    code = ErrorCode.LIMIT


class BadState(PackshotError):
    """The object is not in a state in which this can be done."""

    code = ErrorCode.BAD_STATE


class FetchBlocked(PackshotError):
    """The address leads to where fetching is not allowed to go."""

    code = ErrorCode.FETCH_BLOCKED


class FetchFailed(PackshotError):
    """The address did not give the bytes: nobody answers, or not with a picture's bytes.

    Attributes:
        may_pass: whether whoever can wait had better ask once more, later.
    """

    code = ErrorCode.FETCH_FAILED

    def __init__(self, message: str, *, may_pass: bool = True, **details: Any) -> None:
        super().__init__(message, **details)
        self.may_pass = may_pass


class UploadExpired(PackshotError):
    """The upload's 15 minutes are over."""

    code = ErrorCode.UPLOAD_EXPIRED


class ChecksumMismatch(PackshotError):
    """The bytes received are not the bytes announced."""

    code = ErrorCode.CHECKSUM_MISMATCH


class UnsupportedMedia(PackshotError):
    """The bytes are no image of an accepted format."""

    code = ErrorCode.UNSUPPORTED_MEDIA


class TooLarge(PackshotError):
    """More bytes or pixels than the limit allows."""

    code = ErrorCode.TOO_LARGE


class Unrenderable(PackshotError):
    """The image is damaged, needs too much memory, or cannot be drawn in the requested shape."""

    code = ErrorCode.UNRENDERABLE


class OriginalLost(Unrenderable):
    """An original is missing from its store, or other bytes are there; an upload of the picture brings it back."""


class RenderTimeout(PackshotError):
    """Rendering took longer than the limit."""

    code = ErrorCode.RENDER_TIMEOUT


class Resync(PackshotError):
    """What happened since a cursor of changes is not known any more; the client starts over with an empty copy."""

    code = ErrorCode.RESYNC


class Internal(PackshotError):
    """An exception that nobody foresaw ended a background step as often as it may; the log has it by its id."""

    code = ErrorCode.INTERNAL

    def __init__(self, error_id: str) -> None:
        super().__init__(f"Something unforeseen went wrong on our side; the log has it as error id {error_id}.")
