"""Parse `Accept`, to learn which formats a client takes."""

from starlette.requests import Request

from packshot.model import Format

# Media ranges that end beyond this position are ignored. Browsers send about 150 characters.
MAX_ACCEPT_CHARACTERS = 4096
# White space in headers (RFC 9110, section 5.6.3).
_BLANK = " \t"


def accepted_by(request: Request) -> frozenset[Format]:
    """Return which of AVIF and WebP the client of a request accepts."""
    return accepted_formats(",".join(request.headers.getlist("accept")))


def accepted_formats(accept: str) -> frozenset[Format]:
    """Return which of AVIF and WebP an `Accept` header names. Wildcards count as neither.

    `infra/edge/route.js` does the same in JavaScript at a CDN's edge.
    """
    found = set()
    for item in bounded(accept).lower().split(","):
        media_type, *parameters = (part.strip(_BLANK) for part in item.split(";"))
        refused = any(p.partition("=")[0].strip(_BLANK) == "q" and _is_zero(p.partition("=")[2]) for p in parameters)
        if media_type in ("image/avif", "image/webp") and not refused:
            found.add(Format(media_type.removeprefix("image/")))
    return frozenset(found)


def bounded(accept: str) -> str:
    """Return the part of an `Accept` header that is evaluated."""
    return accept if len(accept) <= MAX_ACCEPT_CHARACTERS else accept[:MAX_ACCEPT_CHARACTERS].rpartition(",")[0]


def _is_zero(weight: str) -> bool:
    weight = weight.strip(_BLANK)
    return weight.strip("0") in ("", ".") and weight != ""
