"""Refusals and faults as the old service's clients expect them: JSON with an id."""

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

# A slow render and a failed download are the client's fault here, so these are 422 instead of 5xx.
STATUS = {ErrorCode.RENDER_TIMEOUT: 422, ErrorCode.FETCH_FAILED: 422}
# Names of this API by the core's names; all others are the same.
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
    """Return a JSON response that no cache keeps."""
    return Response(orjson.dumps(document), status, HEADERS | (headers or {}), media_type="application/json")


def refusal(status: int, message: str, code: str, headers: dict[str, str] | None = None, **members: Any) -> Response:
    """Return an error document; members that are None are left out."""
    document = {"id": secrets.token_hex(8), "status": status, "code": code, "message": message, **members}
    return answer(status, {name: value for name, value in document.items() if value is not None}, headers)


def refuse(error: PackshotError, *, reads: bool = True) -> Response:
    """Answer with a refusal of the core, with the names of this API.

    Args:
        reads: whether the caller's token has the scope `read`.
    """
    document = problems.describe(error)
    plan = documents.plan(error.plan) if isinstance(error, ForceRequired) else None
    # No field of this API is called `source`.
    path = [NAMES.get(name, name) for name in error.field if name != "source"]
    return refusal(
        STATUS.get(error.code, document["status"]),
        error.message,
        document["code"],
        parameter=".".join(path) or None,
        expected=error.expected,
        got=error.got,
        plan=plan if plan is None or reads else documents.plan_without_read(plan),
        existing=error.existing_id if isinstance(error, Taken) else None,
    )


def unauthenticated(*, knows_passwords: bool) -> Response:
    """Refuse a request without valid credentials. JVM clients send a password only after a Basic challenge."""
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
    """Answer a request that finds no free thread, with the seconds after which to retry."""
    return refusal(error.status, error.message, error.code, {"Retry-After": str(error.retry_after)})


def insecure() -> Response:
    """Refuse a request that came without encryption."""
    expected = "https://, or a client in PACKSHOT_TRUSTED_IPS"
    return refusal(403, "The admin API needs HTTPS.", "INSECURE", expected=expected)


def elsewhere() -> Response:
    """Refuse a page of another site, which could use a password that the browser has stored."""
    return refusal(
        403,
        "Pages of other sites cannot use the admin API.",
        "FORBIDDEN",
        expected="no browser, this site, or an origin that PACKSHOT_CORS_ORIGINS names",
    )


def nowhere(request: Request) -> Response:
    """Answer a path that does not exist."""
    return refusal(404, "This path does not exist.", "NOT_FOUND", got=request.url.path)


def not_allowed(request: Request, allow: str) -> Response:
    """Answer a method that the path does not take, with the methods that it takes."""
    message = "This path does not take that method."
    return refusal(405, message, "METHOD_NOT_ALLOWED", {"Allow": allow}, expected=allow, got=request.method)


def fail(request: Request, error: Exception) -> Response:
    """Answer an outage with 503 and a fault with 500; the log has the traceback under the same id."""
    away, place = explain_outage(error), (request.method, problems.shown_path(request.scope))
    if away is None:
        error_id = faults.record(log, error, "bug at %s %s", *place)
        document = {"id": error_id, "status": 500, "code": "INTERNAL", "message": "Something went wrong on our side."}
        return answer(500, document)
    error_id = faults.record(log, error, "%s at %s %s", away, *place)
    document = {"id": error_id, "status": 503, "code": "UNAVAILABLE", "message": f"{away[0].upper()}{away[1:]}."}
    return answer(503, document, {"Retry-After": str(RETRY_SECONDS)})
