"""The OpenAPI 3.1 description of the REST admin API and the image endpoints, built from the table of operations."""

import re
from importlib.metadata import version
from typing import Any

from serve.rest import pictures
from serve.rest.calls import Operation, Takes
from serve.rest.schemas import LOCATION_NAME, PACK, SCHEMAS, ref
from serve.rest.table import OPERATIONS

ABOUT = (
    "The endpoints of the service that Packshot replaces, for clients that change only the host name. "
    "docs/rest.md describes them, docs/compatibility.md lists the differences. New clients should use GraphQL."
)
# Responses of every operation. The path or the token may name a tenant that is not the caller's.
ALWAYS = {
    401: "The credentials are missing or wrong.",
    403: "The token lacks a scope, or the request came without HTTPS.",
    404: "The object does not exist in this tenant.",
    429: "Too many wrong credentials came from this address; `Retry-After` says when to retry.",
    500: "The server has failed; its log has the error's id.",
    503: "The database, a store or another service does not answer, or too many requests of the tenant wait; "
    "`Retry-After` says when to retry.",
}
REFUSALS = {
    400: "A parameter or a field of the body is invalid.",
    409: "The change needs force, the object is in use or taken, or another change is pending.",
    413: "The body is too large.",
    415: "The bytes are not an image of an accepted format.",
    422: "The image cannot be decoded, or its URL could not be fetched.",
}
_TEXT = {"type": "string"}
PARAMETERS: dict[str, dict[str, Any]] = {
    "id": {
        "schema": _TEXT,
        "example": PACK,
        "description": "The pack's id; the first hyphen and what follows it are ignored.",
    },
    "name": {"schema": LOCATION_NAME, "example": "portal-cover", "description": "The location."},
    "location": {"schema": LOCATION_NAME, "example": "main", "description": "The location."},
    "assetId": {"schema": {"type": "integer"}, "example": 4711, "description": "The asset."},
    "tenant": {"schema": _TEXT, "example": "default", "description": "The caller's own tenant."},
    "env": {"schema": _TEXT, "example": "eu-north-1-prod", "description": "Any value; it has no effect."},
    "force": {"schema": {"type": "boolean"}, "example": True, "description": "Delete it even if packs use it."},
    "imageUrl": {
        "schema": _TEXT | {"minLength": 1},
        "required": True,
        "example": "https://pictures.example/film.jpg",
        "description": "The image's URL, at a public address.",
    },
}


def describe() -> dict[str, Any]:
    """Return the description."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Packshot: REST admin API and images", "version": version("packshot"), "description": ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"basic": []}],
        "paths": paths | pictures.describe(),
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A JWT, an API token or the admin token; `VimondAuth` works like `Bearer`.",
                },
                "basic": {"type": "http", "scheme": "basic", "description": "A user of PACKSHOT_BASIC_USERS."},
                "accessKey": {"type": "apiKey", "in": "header", "name": "X-Packshot-Access-Key"},
                "vimondAccessKey": {"type": "apiKey", "in": "header", "name": "X-Vimond-Access-Key"},
            },
        },
    }


def _describe(operation: Operation) -> dict[str, Any]:
    named = re.findall(r"{(\w+)}", operation.path)
    given = [{"name": name, "in": "path", **PARAMETERS[name], "required": True} for name in named]
    given += [{"name": name, "in": "query", **PARAMETERS[name]} for name in operation.query]
    told = REFUSALS | ALWAYS
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "description": f"The token needs {' and '.join(f'`{scope}`' for scope in operation.scopes)}.",
        "tags": ["REST admin"],
        "parameters": given,
        "responses": {
            str(operation.status): {"description": "Done.", "content": _json(operation.answer, shown=True)},
            **{
                str(status): {"description": told[status], "content": _json("Error")}
                for status in sorted({*operation.refusals, *ALWAYS})
            },
        },
    }
    if operation.takes is not Takes.NOTHING:
        described["requestBody"] = _body(operation)
    return described


def _body(operation: Operation) -> dict[str, Any]:
    if operation.takes is Takes.PICTURE:
        binary = {"type": "string", "format": "binary"}
        form = {"schema": {"type": "object", "properties": {"image": binary}, "required": ["image"]}}
        raw = {kind: {"schema": binary} for kind in ("image/jpeg", "image/png", "application/octet-stream")}
        return {"required": True, "content": raw | {"multipart/form-data": form}}
    assert operation.body is not None
    return {"required": operation.takes is Takes.OBJECT, "content": _json(operation.body, shown=True)}


def _json(name: str, *, shown: bool = False) -> dict[str, Any]:
    """Return the content with a schema, and with its example, except for errors: one example does not fit them all."""
    content = {"schema": ref(name)}
    return {"application/json": content | ({"example": SCHEMAS[name]["examples"][0]} if shown else {})}
