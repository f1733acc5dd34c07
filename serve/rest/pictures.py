"""The image endpoints of `serve.image` in the OpenAPI description."""

from typing import Any

from packshot.geometry import Gravity
from packshot.model import NAME, Format
from packshot.variants.request import MAX_BLUR, MAX_DPR, FormatChoice
from resolvers.urls.build import PICTURE, STABLE
from serve.rest.schemas import PACK, ref

_FLAG = {"type": "boolean"}
_PIXELS = {"type": "integer", "minimum": 1}
_ROUNDED = "A plain decimal number of at most 1,100 characters, rounded to nine decimals."
_ANY_CASE = "Accepted in any case, with or without hyphens and underscores."
# Parameters that may be empty. For every other parameter, an empty value is refused.
_MAY_BE_EMPTY = ("location", "sizes", "region", "date")
_MODES = ["crop", "includeAll", "clip", "cover", "canvas", "stretch"]
# For each parameter: schema, description, example.
_OF_IMAGE: dict[str, tuple[dict[str, Any], str, Any]] = {
    "location": (
        {"type": "string", "pattern": f"^({NAME.pattern})?$"},
        "Default, also for an empty value: the pack's main location, else `main`.",
        "portal-cover",
    ),
    "width": (_PIXELS, "In pixels; without a height the original's ratio is kept.", 300),
    "height": (_PIXELS, "In pixels; without a width the original's ratio is kept.", 450),
    "location-ratio": (_FLAG, "The missing side follows the location's ratio instead.", True),
    "dpr": (
        {"type": "number", "minimum": 0.5, "maximum": MAX_DPR},
        f"Multiplies both sides, corners and blur. {_ROUNDED}",
        2,
    ),
    "resize-mode": ({"type": "string", "enum": _MODES}, f"How the original fits the box. {_ANY_CASE}", "includeAll"),
    "resize-gravity": (
        {"type": "string", "enum": [each.value for each in Gravity]},
        f"The part that a crop keeps, and the side on which a padded image lies. {_ANY_CASE}",
        "north",
    ),
    "skip-crop": (_FLAG, "Ignore the stored crop.", True),
    "rounded-corners": ({"type": "integer", "minimum": 0}, "Radius in pixels.", 24),
    "background": ({"type": "string", "pattern": "^([0-9a-fA-F]{6}|[0-9a-fA-F]{8})$"}, "rrggbb or rrggbbaa.", "1a1a1a"),
    "blur": (
        {"type": "number", "minimum": 0, "maximum": MAX_BLUR},
        f"Standard deviation in pixels. {_ROUNDED}",
        12.5,
    ),
    "format": (
        {"type": "string", "enum": [each.value for each in FormatChoice]},
        f"Default: the original's. {_ANY_CASE}",
        "auto",
    ),
    "quality": (
        {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 100}, {"const": "auto"}]},
        "Of JPEG, WebP and AVIF; `auto`: of a JPEG the original's own.",
        80,
    ),
    "region": ({"type": "string"}, "Ignored.", "no-1"),
    "date": ({"type": "string"}, "Ignored.", "1662654467834"),
}
_OF_PICTURE: dict[str, tuple[dict[str, Any], str, Any]] = {
    "location": _OF_IMAGE["location"],
    "widths": (
        {"type": "string", "pattern": "^[0-9]{1,9}(,[0-9]{1,9})*$"},
        "In pixels from 1, separated by commas.",
        "320,640",
    ),
    "formats": (
        {"type": "string", "minLength": 1},
        "Of avif, webp, jpeg, png, gif, separated by commas.",
        "avif,jpeg",
    ),
    "sizes": ({"type": "string"}, "As in HTML; empty: as wide as the location.", "100vw"),
}
# Parts of an immutable URL, which other responses contain.
_KEY = {
    "tenant": "default",
    "pack": PACK,
    "location": "portal-cover",
    "fingerprint": "0123456789abcdef01234567",
    "plan": "w300-h450-crop-north-q80.jpg",
}
_REFUSALS = (400, 403, 404, 410, 500, 503)
_UNRENDERED = {
    416: "The range lies outside the image.",
    422: "The image cannot be rendered.",
    503: "Come later.",
    504: "Rendering takes too long.",
}


def describe() -> dict[str, Any]:
    """Return the paths of the image endpoints."""
    pictures = {format.media_type: {"schema": {"type": "string", "format": "binary"}} for format in Format}
    rendered = {
        "200": {"description": "The picture.", "content": pictures},
        "206": {"description": "The requested range.", "content": pictures},
        "302": {"description": "With `PACKSHOT_DELIVERY=redirect`: to the immutable URL."},
        "304": {"description": "The client's copy is current."},
        **{str(status): _problem(told) for status, told in _UNRENDERED.items()},
    }
    whole = {
        "200": {"description": "The picture.", "content": {"application/json": {"schema": ref("Picture")}}},
        "304": {"description": "The client's copy is current."},
    }
    return {
        f"{STABLE}/{{id}}": _operation("getImage", "An image in its current state.", _OF_IMAGE, rendered),
        f"/i/{'/'.join(f'{{{name}}}' for name in _KEY)}": _immutable(rendered),
        f"{STABLE}/{{id}}/{PICTURE}": _operation(
            "getPicture", "Sources, sizes and placeholder of a `<picture>` element.", _OF_PICTURE, whole
        ),
    }


def _immutable(rendered: dict[str, Any]) -> dict[str, Any]:
    named = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "example": example}
        for name, example in _KEY.items()
    ]
    described = _operation("getImmutableImage", "An image whose bytes never change.", {}, rendered)
    return {"get": described["get"] | {"parameters": named}}


def _operation(
    id: str, summary: str, query: dict[str, tuple[dict[str, Any], str, Any]], answers: dict[str, Any]
) -> dict[str, Any]:
    named = [
        {"name": name, "in": "query", "schema": schema, "description": told, "example": example}
        | ({"allowEmptyValue": True} if name in _MAY_BE_EMPTY else {})
        for name, (schema, told, example) in query.items()
    ]
    pack: dict[str, Any] = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "get": {
            "operationId": id,
            "summary": summary,
            "tags": ["Pictures"],
            "parameters": [
                pack | {"example": f"{PACK}-1662654467834", "description": "After the first hyphen: a cache buster."},
                *named,
            ],
            # Only some tenants require access keys.
            "security": [{}, {"accessKey": []}, {"vimondAccessKey": []}],
            "responses": answers | {str(status): _problem("A refusal.") for status in _REFUSALS},
        }
    }


def _problem(told: str) -> dict[str, Any]:
    return {"description": told, "content": {"application/problem+json": {"schema": ref("Problem")}}}
