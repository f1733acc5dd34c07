"""What a client can show, by its `Accept` header."""

from starlette.requests import Request

from packshot.model import Format

# Of a longer header only the media ranges that end within this count. Browsers send some 150.
MAX_ACCEPT_CHARACTERS = 4096
# White space in a header (RFC 9110, section 5.6.3).
_BLANK = " \t"


def accepted_by(request: Request) -> frozenset[Format]:
    """Return which of AVIF and WebP a request's client names."""
    return accepted_formats(",".join(request.headers.getlist("accept")))


def accepted_formats(accept: str) -> frozenset[Format]:
    """Return which of AVIF and WebP an `Accept` header names; wildcards promise neither.

    A CDN's edge does the same in JavaScript: infra/edge/route.js.
    """
    found = set()
    for item in bounded(accept).lower().split(","):
        media_type, *parameters = (part.strip(_BLANK) for part in item.split(";"))
        refused = any(p.partition("=")[0].strip(_BLANK) == "q" and _is_zero(p.partition("=")[2]) for p in parameters)
        if media_type in ("image/avif", "image/webp") and not refused:
            found.add(Format(media_type.removeprefix("image/")))
    return frozenset(found)


def bounded(accept: str) -> str:
    """Return the part of an `Accept` header that counts."""
    return accept if len(accept) <= MAX_ACCEPT_CHARACTERS else accept[:MAX_ACCEPT_CHARACTERS].rpartition(",")[0]


def _is_zero(weight: str) -> bool:
    weight = weight.strip(_BLANK)
    return weight.strip("0") in ("", ".") and weight != ""
