"""The refusals: one tree of exceptions.

A `PackshotError` means that the same request gets the same answer again. Any other exception is an outage or a
fault: it is retried, logged and answered with a 5xx status. This module knows neither HTTP nor GraphQL; each API
maps the tree once.
"""

from enum import StrEnum
from typing import Any, ClassVar


class ErrorCode(StrEnum):
    """The kind of a refusal, for programs."""

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
    """A refusal, with the expected and the actual value.

    Args:
        message: one sentence for people, shortened to 1,000 characters because it may quote a client.
        field: path of the refused value in snake case, innermost last.
        expected: what would have been accepted.
        got: what was sent, shortened to 100 characters.

    Attributes:
        undecodable: the original itself cannot be decoded, so all its variants are refused too.
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
        # JSON has no unpaired surrogates, but a client's text may contain one.
        self.got = None if got is None else _short(str(got)).encode(errors="replace").decode()

    def __reduce__(self) -> tuple[Any, ...]:
        # Render processes pickle refusals; the default would lose the keyword arguments.
        return _revive, (type(self), dict(self.__dict__))

    def at(self, *prefix: str) -> "PackshotError":
        """Prepend `prefix` to the field path, when a refusal leaves a nested input."""
        self.field = (*prefix, *self.field)
        return self


def describe(error: PackshotError) -> str:
    """Return the refusal in one line, with the expected and the actual value."""
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
    """Return a refusal as JSON; `load_error` restores it."""
    return {"code": error.code.value, **error.__dict__}


def load_error(kept: dict[str, Any]) -> PackshotError:
    """Return the refusal that `dump_error` serialized."""
    (kind,) = (kind for kind in PackshotError.__subclasses__() if kind.code.value == kept["code"])
    state = {name: value for name, value in kept.items() if name != "code"}
    return _revive(kind, state | {"field": tuple(kept["field"])})


class Invalid(PackshotError):
    """A value breaks a rule."""

    code = ErrorCode.INVALID


class NotFound(PackshotError):
    """The tenant has nothing with that name or id."""

    code = ErrorCode.NOT_FOUND


class Gone(NotFound):
    """The pack was erased: it does not exist, and never will again."""


class Taken(PackshotError):
    """The value must be unique, and another object has it."""

    code = ErrorCode.TAKEN

    def __init__(self, message: str, *, existing_id: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.existing_id = existing_id


class InUse(PackshotError):
    """Other objects depend on the object; `force` overrides this."""

    code = ErrorCode.IN_USE


class Cycle(PackshotError):
    """The fallbacks of locations would form a cycle."""

    code = ErrorCode.CYCLE


class Forbidden(PackshotError):
    """The caller's token lacks the scope."""

    code = ErrorCode.FORBIDDEN


class VersionConflict(PackshotError):
    """The object has another version than the caller expected."""

    code = ErrorCode.VERSION_CONFLICT

    def __init__(self, message: str, *, current_version: int, current_id: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.current_version = current_version
        self.current_id = current_id


class PlanStale(PackshotError):
    """The plan expired, belongs to another change, or the configuration has changed since."""

    code = ErrorCode.PLAN_STALE


class IdempotencyMismatch(PackshotError):
    """The idempotency key was used for another call."""

    code = ErrorCode.IDEMPOTENCY_MISMATCH


class Limit(PackshotError):
    """A list or page is longer than allowed."""

    code = ErrorCode.LIMIT


class BadState(PackshotError):
    """The state of the object does not allow it."""

    code = ErrorCode.BAD_STATE


class FetchBlocked(PackshotError):
    """Packshot must not fetch from that address."""

    code = ErrorCode.FETCH_BLOCKED


class FetchFailed(PackshotError):
    """No image could be fetched from the address: it did not answer, or answered with something else.

    Attributes:
        may_pass: whether a later attempt may succeed.
    """

    code = ErrorCode.FETCH_FAILED

    def __init__(self, message: str, *, may_pass: bool = True, **details: Any) -> None:
        super().__init__(message, **details)
        self.may_pass = may_pass


class UploadExpired(PackshotError):
    """The upload expired after 15 minutes."""

    code = ErrorCode.UPLOAD_EXPIRED


class ChecksumMismatch(PackshotError):
    """The received bytes differ from the announced checksum."""

    code = ErrorCode.CHECKSUM_MISMATCH


class UnsupportedMedia(PackshotError):
    """The bytes are not an image in an accepted format."""

    code = ErrorCode.UNSUPPORTED_MEDIA


class TooLarge(PackshotError):
    """More bytes or pixels than the limit allows."""

    code = ErrorCode.TOO_LARGE


class Unrenderable(PackshotError):
    """The image is damaged, needs too much memory, or cannot be rendered with these parameters."""

    code = ErrorCode.UNRENDERABLE


class OriginalLost(Unrenderable):
    """An original is missing from its store, or its bytes were changed. Uploading the image again repairs it."""


class RenderTimeout(PackshotError):
    """Rendering took longer than the limit."""

    code = ErrorCode.RENDER_TIMEOUT


class Resync(PackshotError):
    """The changes since that cursor are no longer known; the client starts over with an empty copy."""

    code = ErrorCode.RESYNC


class Internal(PackshotError):
    """A fault ended a background step as often as allowed; the log has it under the error id."""

    code = ErrorCode.INTERNAL

    def __init__(self, error_id: str) -> None:
        super().__init__(f"Something unforeseen went wrong on our side; the log has it as error id {error_id}.")
