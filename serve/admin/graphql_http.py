"""GraphQL over HTTP: media types, statuses, and refusals of requests that carry no valid operation."""

import logging
from json import JSONDecodeError

import orjson
from cross_web import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from strawberry.schema.exceptions import InvalidOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from packshot import faults
from packshot.errors import ErrorCode, Invalid, PackshotError
from packshot.outages import RETRY_SECONDS, explain_outage
from schema.execution.masking import INTERNAL, UNAVAILABLE
from schema.request.threads import ThreadsBusy
from serve.http import problems
from serve.http.methods import allow
from serve.http.negotiation import bounded
from serve.http.pages import GUARDED, NOTHING
from serve.http.upload_stream import JSON, check_json, read_body

log = logging.getLogger(__name__)

MAX_BODY_BYTES = 1 << 20
RESPONSE = "application/graphql-response+json"
EVENTS = "text/event-stream"
METHODS = ("GET", "POST")  # HEAD is run as GET
NEEDS_TOKEN, NEEDS_HTTPS = "The admin API needs a valid token.", "The admin API needs HTTPS."


def media_type(request: HTTPConnection) -> str:
    """Return which of the two media types the response has.

    `application/graphql-response+json` says by the status that a request failed. It is the default, and also answers
    clients that accept neither. Only clients that prefer `application/json` get that one.
    """
    accept = bounded(request.headers.get("accept", "*/*"))
    return max((RESPONSE, JSON), key=lambda offered: _liking(accept, offered))


def prefers_json(request: HTTPConnection) -> bool:
    """Whether a client accepts JSON with at least the weight of server-sent events."""
    accept = bounded(request.headers.get("accept", "*/*"))
    return max(_liking(accept, RESPONSE), _liking(accept, JSON)) >= _liking(accept, EVENTS)


def _liking(accept: str, offered: str) -> float:
    """Return the weight, from 0 to 1, of the most specific range that matches a type (RFC 9110, section 12.5.1)."""
    found = (0, 0.0)
    for item in accept.lower().split(","):
        name, *parameters = (part.strip() for part in item.split(";"))
        if name in (offered, f"{offered.partition('/')[0]}/*", "*/*"):
            weights = [parameter[2:] for parameter in parameters if parameter.startswith("q=")]
            found = max(found, (3 - name.count("*"), _weight(weights[0] if weights else "1")))
    return found[1]


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0


async def check_body(request: Request) -> None:
    """Refuse a request whose body is no GraphQL request, before the body is read whole where possible.

    Raises:
        UnsupportedMedia: the media type is not JSON.
        TooLarge: the body is longer than `MAX_BODY_BYTES`.
        Invalid: the body is no JSON object, or a batch.
    """
    check_json(request)
    # Starlette's own cache of the body, so that a later `request.body()` finds it.
    request._body = await read_body(request, MAX_BODY_BYTES)
    _check_shape(request._body)


def _check_shape(body: bytes) -> None:
    expected = '{"query": "…", "variables": {…}}'
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Invalid("The body is not valid JSON.", expected=expected) from None
    if isinstance(parsed, list):
        raise Invalid(
            "Batches are not supported: send one operation in each request.", expected=expected, got="a batch"
        )
    if not isinstance(parsed, dict):
        raise Invalid("The body is not a JSON object.", expected=expected)
    if not isinstance(parsed.get("operationName"), str | None):
        raise Invalid("`operationName` must be a string or null.", field=("operationName",))


def is_request_error(result: ExecutionResult) -> bool:
    """Whether nothing was run because the document or its variables are wrong. Errors of fields have a path."""
    return result.data is None and bool(result.errors) and all(error.path is None for error in result.errors or ())


def is_unavailable(result: ExecutionResult) -> bool:
    """Whether the database or a store did not answer, and no field has a result."""
    # `__typename` of a root type needs no database.
    came = [value for value in (result.data or {}).values() if value not in (None, "Query", "Mutation")]
    return not came and any((error.extensions or {}).get("code") == UNAVAILABLE for error in result.errors or ())


def status_of(result: ExecutionResult, media: str) -> int:
    """Return the status of a response; with `application/json` a wrong document has status 200 too."""
    if is_unavailable(result):
        return 503
    return 400 if media == RESPONSE and is_request_error(result) else 200


def refusal(
    request: HTTPConnection,
    status: int,
    message: str,
    code: str,
    *,
    expected: str | None = None,
    got: str | None = None,
    error_id: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Refuse a request that carries no operation; the status is the same in both media types."""
    body = errors(message, code, expected=expected, got=got, errorId=error_id)
    return answer(body, status, media_type(request), headers)


def errors(message: str, code: str, **details: str | None) -> bytes:
    """Return the body of a refusal; details that are None are left out."""
    extensions = {name: value for name, value in {"code": code, **details}.items() if value is not None}
    return orjson.dumps({"errors": [{"message": message, "extensions": extensions}]})


def answer(body: bytes, status: int, media: str, headers: dict[str, str] | None = None) -> Response:
    """Return a response that no cache keeps."""
    own = GUARDED | {"Content-Security-Policy": NOTHING, "Cache-Control": "no-store", "Vary": "Accept"}
    return Response(body, status, own | (headers or {}), media_type=f"{media}; charset=utf-8")


def refuse(request: Request, error: PackshotError) -> Response:
    """Answer with a refusal of the core."""
    return refusal(
        request,
        problems.STATUS[error.code],
        error.message,
        error.code.value,
        expected=error.expected,
        got=error.got,
    )


def is_subscription(error: HTTPException) -> bool:
    """Whether Strawberry refuses a subscription because the transport carries one result only."""
    cause = error.__cause__
    return isinstance(cause, InvalidOperationTypeError) and cause.operation_type is OperationType.SUBSCRIPTION


def refuse_request(request: Request, error: HTTPException) -> Response:
    """Answer with Strawberry's refusal of a request: no valid operation, or one that the method does not allow."""
    cause = error.__cause__
    if is_subscription(error):
        expected = "Accept: text/event-stream, or a WebSocket"
        return refusal(
            request, 400, "A subscription needs a transport for more than one result.", "INVALID", expected=expected
        )
    if request.method == "GET" and isinstance(cause, JSONDecodeError):
        expected = "variables={…} and extensions={…}, escaped"
        return refusal(request, 400, "A parameter of the URL is not valid JSON.", "INVALID", expected=expected)
    if isinstance(cause, InvalidOperationTypeError) or error.status_code == 405:
        allowed = allow(METHODS if request.method not in METHODS else ["POST"])
        message = "This method cannot run the operation."
        return refusal(
            request,
            405,
            message,
            "METHOD_NOT_ALLOWED",
            expected=allowed,
            got=request.method,
            headers={"Allow": allowed},
        )
    return refusal(request, error.status_code, error.reason, ErrorCode.INVALID.value)


def unauthenticated(request: Request) -> Response:
    """Answer a request without valid credentials."""
    return refusal(
        request,
        401,
        NEEDS_TOKEN,
        "UNAUTHENTICATED",
        expected="Authorization: Bearer …",
        headers={"WWW-Authenticate": 'Bearer realm="packshot"'},
    )


def too_busy(request: Request, error: ThreadsBusy) -> Response:
    """Answer a request that finds no free thread, with the seconds after which to retry."""
    headers = {"Retry-After": str(error.retry_after)}
    return refusal(request, error.status, error.message, error.code, headers=headers)


def insecure(request: Request) -> Response:
    """Refuse a request that came without encryption."""
    return refusal(
        request,
        403,
        NEEDS_HTTPS,
        "INSECURE",
        expected="https://, or a client in PACKSHOT_TRUSTED_IPS",
    )


def too_many_sockets(request: HTTPConnection, most: int) -> Response:
    """Refuse a WebSocket of an address that has the maximum open."""
    expected, headers = f"at most {most} from one address", {"Retry-After": str(RETRY_SECONDS)}
    return refusal(request, 503, "Too many WebSockets are open.", "OVERLOADED", expected=expected, headers=headers)


def elsewhere(request: HTTPConnection) -> Response:
    """Refuse a WebSocket that a page of another origin opens."""
    return refusal(
        request,
        403,
        "Pages of this origin cannot open a WebSocket.",
        ErrorCode.FORBIDDEN.value,
        expected="this origin, or one that PACKSHOT_CORS_ORIGINS names",
        got=request.headers.get("origin"),
    )


def fail(request: Request, error: Exception) -> Response:
    """Answer an outage with 503 and a fault with 500; the log has the traceback under the same error id."""
    away = explain_outage(error)
    if away is None:
        error_id = faults.record(log, error, "fault before GraphQL")
        message = f"Something went wrong on our side; error id {error_id}."
        return refusal(request, 500, message, INTERNAL, error_id=error_id)
    error_id = faults.record(log, error, "%s before GraphQL", away)
    message, headers = f"{away[0].upper()}{away[1:]}; error id {error_id}.", {"Retry-After": str(RETRY_SECONDS)}
    return refusal(request, 503, message, UNAVAILABLE, error_id=error_id, headers=headers)
