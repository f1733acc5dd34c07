"""Refusals and faults as the old service's clients read them: JSON with an id."""

import logging
import secrets
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from packshot import faults
from packshot.errors import ErrorCode, PackshotError, Taken
from packshot.outages import RETRY_SECONDS, explain_outage
from packshot.variants.change_plan import ForceRequired
from schema.request.threads import ThreadsBusy
from serve.http import problems
from serve.rest import documents

log = logging.getLogger(__name__)

# A picture that cannot be drawn in time and an address that gives none are the client's; nothing is broken here.
STATUS = {ErrorCode.RENDER_TIMEOUT: 422, ErrorCode.FETCH_FAILED: 422}
# By the core's names; all others are the same in both.
NAMES = {
    "pack_id": "id",
    "asset_id": "assetId",
    "main_location": "mainImageLocation",
    "resize_gravity": "resizeGravity",
    "include_all": "useResizeIncludeAll",
    "crop": "cropInfo",
    "top_left_x": "topLeftX",
    "top_left_y": "topLeftY",
    "bottom_right_x": "bottomRightX",
    "bottom_right_y": "bottomRightY",
    "url": "imageUrl",
    "bytes": "body",
}
HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def answer(status: int, document: Any, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON answer that nobody keeps."""
    return Response(orjson.dumps(document), status, HEADERS | (headers or {}), media_type="application/json")


def refusal(status: int, message: str, code: str, headers: dict[str, str] | None = None, **members: Any) -> Response:
    """Return an error document; members that are None are left out."""
    told = {"id": secrets.token_hex(8), "status": status, "code": code, "message": message, **members}
    return answer(status, {name: value for name, value in told.items() if value is not None}, headers)


def refuse(error: PackshotError, *, reads: bool = True) -> Response:
    """Answer a refusal of the core: the same members as anywhere, by the names of this face.

    Args:
        reads: whether the caller's token has the scope `read`.
    """
    told = problems.describe(error)
    plan = documents.plan(error.plan) if isinstance(error, ForceRequired) else None
    # Where a picture comes from is not said by a field here.
    path = [NAMES.get(name, name) for name in error.field if name != "source"]
    return refusal(
        STATUS.get(error.code, told["status"]),
        error.message,
        told["code"],
        parameter=".".join(path) or None,
        expected=error.expected,
        got=error.got,
        plan=plan if plan is None or reads else documents.plan_without_read(plan),
        existing=error.existing_id if isinstance(error, Taken) else None,
    )


def unauthenticated(*, knows_passwords: bool) -> Response:
    """Answer a request without valid credentials; a JVM client sends a password only where it is asked for one."""
    challenge = 'Bearer realm="packshot"' + (', Basic realm="packshot", charset="UTF-8"' if knows_passwords else "")
    expected = "Authorization: Bearer … or Basic …" if knows_passwords else "Authorization: Bearer …"
    return refusal(
        401,
        "The admin API needs valid credentials.",
        "UNAUTHENTICATED",
        {"WWW-Authenticate": challenge},
        expected=expected,
    )


def too_busy(error: ThreadsBusy) -> Response:
    """Answer a request that is not served now, with the time when it may be."""
    return refusal(error.status, error.message, error.code, {"Retry-After": str(error.retry_after)})


def insecure() -> Response:
    """Answer a request that strangers on the way could have read."""
    expected = "https://, or a client in PACKSHOT_TRUSTED_IPS"
    return refusal(403, "The admin API needs HTTPS.", "INSECURE", expected=expected)


def elsewhere() -> Response:
    """Answer a page of another site, which could use a password that the browser remembers."""
    return refusal(
        403,
        "Pages of other sites cannot use the admin API.",
        "FORBIDDEN",
        expected="no browser, this site, or an origin that PACKSHOT_CORS_ORIGINS names",
    )


def nowhere(request: Request) -> Response:
    """Answer a path that leads nowhere."""
    return refusal(404, "There is nothing under this path.", "NOT_FOUND", got=request.url.path)


def not_allowed(request: Request, allow: str) -> Response:
    """Answer a method that the path does not take with those that it takes."""
    message = "This path does not take that method."
    return refusal(405, message, "METHOD_NOT_ALLOWED", {"Allow": allow}, expected=allow, got=request.method)


def fail(request: Request, error: Exception) -> Response:
    """Answer an outage with 503 and a bug with 500; the log has the traceback under the same id."""
    away, place = explain_outage(error), (request.method, problems.shown_path(request.scope))
    if away is None:
        error_id = faults.record(log, error, "bug at %s %s", *place)
        told = {"id": error_id, "status": 500, "code": "INTERNAL", "message": "Something went wrong on our side."}
        return answer(500, told)
    error_id = faults.record(log, error, "%s at %s %s", away, *place)
    told = {"id": error_id, "status": 503, "code": "UNAVAILABLE", "message": f"{away[0].upper()}{away[1:]}."}
    return answer(503, told, {"Retry-After": str(RETRY_SECONDS)})
