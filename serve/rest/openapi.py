"""The description of the REST admin face and the image endpoints as OpenAPI 3.1, made of the table of operations."""

import re
from importlib.metadata import version
from typing import Any

from serve.rest import pictures
from serve.rest.calls import Operation, Takes
from serve.rest.schemas import LOCATION_NAME, PACK, SCHEMAS, ref
from serve.rest.table import OPERATIONS

ABOUT = (
    "The endpoints of the service that Packshot takes the place of, for clients that change nothing but the host name. "
    "What they do, and what is different, docs/rest.md and docs/compatibility.md tell. New clients do better with "
    "GraphQL."
)
# Of every operation; the path or the token may name a tenant that is not the caller's.
ALWAYS = {
    401: "No credentials, or wrong ones.",
    403: "The token may not do that, or the request came without HTTPS.",
    404: "There is no such thing in this tenant.",
    429: "Too many wrong credentials came from there; `Retry-After` says when to come again.",
    500: "Something went wrong on our side; the log has the error's id.",
    503: "The database, a store or another service does not answer, or too many requests of the tenant wait; "
    "`Retry-After` says when to retry.",
}
REFUSALS = {
    400: "Something that came does not fit.",
    409: "Force is needed, something is in use or taken, or another change is being prepared.",
    413: "More bytes came than may come.",
    415: "The bytes are no picture of an accepted format.",
    422: "The picture cannot be drawn, or the address gave none.",
}
_TEXT = {"type": "string"}
PARAMETERS: dict[str, dict[str, Any]] = {
    "id": {"schema": _TEXT, "example": PACK, "description": "The pack; what follows the first hyphen is ignored."},
    "name": {"schema": LOCATION_NAME, "example": "portal-cover", "description": "The location."},
    "location": {"schema": LOCATION_NAME, "example": "main", "description": "The location."},
    "assetId": {"schema": {"type": "integer"}, "example": 4711, "description": "The asset."},
    "tenant": {"schema": _TEXT, "example": "default", "description": "The caller's own tenant."},
    "env": {"schema": _TEXT, "example": "eu-north-1-prod", "description": "Any; it makes no difference."},
    "force": {"schema": {"type": "boolean"}, "example": True, "description": "Do it although packs show it."},
    "imageUrl": {
        "schema": _TEXT | {"minLength": 1},
        "required": True,
        "example": "https://pictures.example/film.jpg",
        "description": "Where the picture is; a public address.",
    },
}


def describe() -> dict[str, Any]:
    """Return the description."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Packshot: REST admin and pictures", "version": version("packshot"), "description": ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"basic": []}],
        "paths": paths | pictures.describe(),
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A JWT, an API token or the admin token; `VimondAuth` is another word for `Bearer`.",
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
    """Return the content of that schema, with its example where one is to be shown: of an error it would be any."""
    content = {"schema": ref(name)}
    return {"application/json": content | ({"example": SCHEMAS[name]["examples"][0]} if shown else {})}
