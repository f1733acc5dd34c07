"""Map refusals and outages to HTTP responses with `application/problem+json` (RFC 9457)."""

import logging
from math import ceil
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from packshot import faults
from packshot.errors import ErrorCode, Gone, PackshotError
from packshot.outages import RETRY_SECONDS, explain_outage
from schema.request.threads import ThreadsBusy
from serve.http import methods

MEDIA_TYPE = "application/problem+json"

log = logging.getLogger(__name__)


class Overloaded(Exception):
    """The waiting renders would take too long.

    Attributes:
        seconds: expected seconds until there is room again.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"renders of {seconds:.1f} s are waiting")
        self.seconds = seconds


STATUS = {
    ErrorCode.INVALID: 400,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.TAKEN: 409,
    ErrorCode.IN_USE: 409,
    ErrorCode.CYCLE: 409,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.VERSION_CONFLICT: 409,
    ErrorCode.FORCE_REQUIRED: 409,
    ErrorCode.PLAN_STALE: 409,
    ErrorCode.IDEMPOTENCY_MISMATCH: 422,
    ErrorCode.LIMIT: 400,
    ErrorCode.BAD_STATE: 409,
    ErrorCode.FETCH_BLOCKED: 400,
    ErrorCode.FETCH_FAILED: 502,
    ErrorCode.UPLOAD_EXPIRED: 410,
    ErrorCode.CHECKSUM_MISMATCH: 422,
    ErrorCode.UNSUPPORTED_MEDIA: 415,
    ErrorCode.TOO_LARGE: 413,
    ErrorCode.UNRENDERABLE: 422,
    ErrorCode.RENDER_TIMEOUT: 504,
    ErrorCode.RESYNC: 409,
}


def problem(status: int, title: str, *, headers: dict[str, str] | None = None, **members: object) -> Response:
    """Return a problem document. Caches keep a 404 or 410 for two seconds, and others not at all."""
    keep = "public, max-age=2" if status in (404, 410) else "no-store"
    body = {"type": "about:blank", "title": title, "status": status}
    body |= {name: value for name, value in members.items() if value is not None}
    return JSONResponse(
        body,
        status,
        {
            "Cache-Control": keep,
            "X-Content-Type-Options": "nosniff",
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Expose-Headers": "Content-Range, Retry-After",
        }
        | (headers or {}),
        media_type=MEDIA_TYPE,
    )


async def refuse(request: Request, error: Exception) -> Response:
    """Answer with a refusal. Registered for `PackshotError`."""
    assert isinstance(error, PackshotError)
    told = describe(error)
    return problem(told.pop("status"), told.pop("title"), **told)


def describe(error: PackshotError) -> dict[str, Any]:
    """Return the members of a refusal's problem document."""
    gone = isinstance(error, Gone)
    return {
        "title": error.message,
        "status": 410 if gone else STATUS[error.code],
        "code": "GONE" if gone else error.code.value,
        "parameter": ".".join(error.field).replace("_", "-") or None,
        "expected": error.expected,
        "got": error.got,
    }


async def overloaded(request: Request, error: Exception) -> Response:
    """Answer that the render processes and their queue are full."""
    assert isinstance(error, Overloaded)
    return problem(
        503,
        "Too many images are being rendered right now.",
        code="OVERLOADED",
        headers={"Retry-After": str(max(1, ceil(error.seconds)))},
    )


async def too_busy(request: Request, error: Exception) -> Response:
    """Answer that a request cannot be served now, with the time to wait."""
    assert isinstance(error, ThreadsBusy)
    headers = {"Retry-After": str(error.retry_after)}
    return problem(error.status, error.message, code=error.code, headers=headers)


async def insecure(request: Request, error: Exception) -> Response:
    """Refuse a request whose secret others on the network could have read."""
    return problem(403, "This needs HTTPS.", code="INSECURE", expected="https://, or a client in PACKSHOT_TRUSTED_IPS")


async def not_found(request: Request, error: Exception) -> Response:
    """Answer that the path does not exist."""
    return problem(404, "This path does not exist.", code="NOT_FOUND", got=request.url.path)


async def not_allowed(request: Request, error: Exception) -> Response:
    """Answer that the path does not take the method, and list those that it takes."""
    allow = methods.allow(methods.route_methods(request.app.routes, request.scope))
    message = "This path does not take that method."
    return problem(405, message, headers={"Allow": allow}, expected=allow, got=request.method)


def fail(request: Request, error: Exception) -> Response:
    """Answer an outage with 503 and a fault with 500. The log has the traceback under the same id."""
    away = explain_outage(error)
    if away is None:
        reference = faults.record(log, error, "fault at %s %s", request.method, shown_path(request.scope))
        return problem(500, "Something went wrong on our side.", code="INTERNAL", reference=reference)
    reference = faults.record(log, error, "%s at %s %s", away, request.method, shown_path(request.scope))
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return problem(503, f"{away[0].upper()}{away[1:]}.", headers=headers, code="UNAVAILABLE", reference=reference)


def shown_path(scope: Scope) -> str:
    """Return the request's path for a log: ASCII, one line, at most 200 characters."""
    return quote(scope["path"])[:200]
