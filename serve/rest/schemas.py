"""JSON schemas of the REST admin API's bodies and responses, each with an example."""

from typing import Any

from packshot.catalog.configuration.locations import MAX_LABEL_CHARACTERS
from packshot.errors import ErrorCode
from packshot.geometry import Gravity
from packshot.model import NAME, PACK_ID
from schema.base.scalars import MAX_LONG

Schema = dict[str, Any]

PACK = "62e89a0ce4b0003c6f22b5a3"
MOMENT = "2026-11-21T12:00:00.000Z"
CROP = {"topLeftX": 0.1, "topLeftY": 0.05, "bottomRightX": 0.9, "bottomRightY": 0.95}
CONFIG = {
    "label": "Portal cover",
    "width": 300,
    "height": 450,
    "fallback": "main",
    "resizeGravity": "north",
    "useResizeIncludeAll": "UNSET",
}
ANSWERED_PACK = {
    "id": PACK,
    "assetId": 4711,
    "mainImageLocation": "main",
    "imageLocations": {"main": {"cropInfo": CROP, "useResizeIncludeAll": "UNSET", "resizeGravity": "north"}},
    "useResizeIncludeAll": "UNSET",
    "tenant": "default",
    "created": MOMENT,
    "modified": MOMENT,
    "sequenceNumber": 17,
}

GRAVITY: Schema = {"type": "string", "enum": [gravity.value for gravity in Gravity]}
INCLUDE_ALL: Schema = {"type": "string", "enum": ["UNSET", "TRUE", "FALSE"]}
# Spellings that are accepted besides those of responses.
GRAVITY_INPUT: Schema = GRAVITY | {
    "type": ["string", "null"],
    "enum": [*GRAVITY["enum"], None],
    "description": "Also accepted in any case, with hyphens or underscores: `North-East`. null resets.",
}
INCLUDE_ALL_INPUT: Schema = {
    "type": ["string", "boolean", "null"],
    "enum": [*INCLUDE_ALL["enum"], True, False, None],
    "description": "true means TRUE, false FALSE, null UNSET. The words are accepted in any case.",
}
LOCATION_NAME: Schema = {"type": "string", "pattern": f"^{NAME.pattern}$"}
WHEN: Schema = {"type": "string", "format": "date-time"}
SIDE: Schema = {"type": "integer", "minimum": 1}
PART: Schema = {"type": "number", "minimum": 0, "maximum": 1}


def or_null(schema: Schema) -> Schema:
    """Return a schema that also accepts null."""
    return schema | {"type": [schema["type"], "null"]}


def record(example: Any, properties: Schema, *, required: tuple[str, ...] = (), closed: bool = False) -> Schema:
    """Return the schema of an object; in a response it has no other fields."""
    found: Schema = {"type": "object", "properties": properties, "examples": [example]}
    if required:
        found["required"] = list(required)
    return found | {"additionalProperties": False} if closed else found


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_TIMES = {"added": WHEN, "updated": WHEN}
_CORNERS = {"topLeftX": PART, "topLeftY": PART, "bottomRightX": PART, "bottomRightY": PART}
_PACK_ANSWER = {
    "id": {"type": "string", "pattern": f"^{PACK_ID.pattern}$"},
    "assetId": {"type": "integer"},
    "mainImageLocation": LOCATION_NAME,
    "imageLocations": {"type": "object", "additionalProperties": ref("PackLocation")},
    "useResizeIncludeAll": INCLUDE_ALL,
    "resizeGravity": GRAVITY,
    "tenant": {"type": "string"},
    "created": WHEN,
    "modified": WHEN,
    "sequenceNumber": {"type": "integer"},
}
_PACK_SAID = ("id", "imageLocations", "useResizeIncludeAll", "tenant", "created", "modified", "sequenceNumber")
_SLOT_INPUT = {
    "cropInfo": {"anyOf": [ref("CropInfo"), {"type": "null"}]},
    "useResizeIncludeAll": INCLUDE_ALL_INPUT,
    "resizeGravity": GRAVITY_INPUT,
}

SCHEMAS: dict[str, Schema] = {
    "CropInfo": record(CROP, _CORNERS, required=tuple(_CORNERS), closed=True)
    | {
        "description": "A rectangle of the upright original, as fractions of its width and height from its top left "
        "corner. topLeftX is less than bottomRightX, and topLeftY less than bottomRightY."
    },
    "ImageLocationConfigInput": record(
        CONFIG,
        {
            "name": LOCATION_NAME | {"description": "The same as in the path, if given."},
            "label": or_null({"type": "string", "maxLength": MAX_LABEL_CHARACTERS}),
            "width": or_null(SIDE),
            "height": or_null(SIDE),
            "fallback": or_null(LOCATION_NAME),
            "resizeGravity": GRAVITY_INPUT,
            "useResizeIncludeAll": INCLUDE_ALL_INPUT,
        },
    ),
    "ImageLocationConfig": record(
        {"name": "portal-cover", **CONFIG, "added": MOMENT, "updated": MOMENT},
        {
            "name": LOCATION_NAME,
            "label": {"type": "string"},
            "width": SIDE,
            "height": SIDE,
            "fallback": LOCATION_NAME,
            "resizeGravity": GRAVITY,
            "useResizeIncludeAll": INCLUDE_ALL,
            **_TIMES,
        },
        required=("name", "useResizeIncludeAll", "added", "updated"),
        closed=True,
    ),
    "ImageLocationConfigs": {
        "type": "array",
        "items": ref("ImageLocationConfig"),
        "examples": [[{"name": "portal-cover", **CONFIG, "added": MOMENT, "updated": MOMENT}]],
    },
    "DeletedImageLocationConfig": record(
        {"name": "portal-cover"}, {"name": LOCATION_NAME}, required=("name",), closed=True
    ),
    "PackLocation": record(
        {"cropInfo": CROP, "useResizeIncludeAll": "UNSET"},
        {"cropInfo": ref("CropInfo"), "useResizeIncludeAll": INCLUDE_ALL, "resizeGravity": GRAVITY},
        required=("useResizeIncludeAll",),
        closed=True,
    ),
    "PackLocationInput": record({"cropInfo": CROP}, _SLOT_INPUT),
    "ImagePackInput": record(
        {"assetId": 4711},
        {
            "assetId": or_null({"type": "integer", "minimum": -MAX_LONG, "maximum": MAX_LONG}),
            "mainImageLocation": or_null(LOCATION_NAME),
            "imageLocations": {
                "type": ["object", "null"],
                "propertyNames": LOCATION_NAME,
                "additionalProperties": {"anyOf": [ref("PackLocationInput"), {"type": "null"}]},
                "description": "A location that is absent or null does not change; null changes no location.",
            },
            "useResizeIncludeAll": INCLUDE_ALL_INPUT,
            "resizeGravity": GRAVITY_INPUT,
        },
    ),
    "ImagePack": record(ANSWERED_PACK, _PACK_ANSWER, required=_PACK_SAID, closed=True),
    "StampedImagePack": record(
        ANSWERED_PACK | {"id": f"{PACK}-1662654467834"},
        _PACK_ANSWER | {"id": {"type": "string", "pattern": f"^{PACK_ID.pattern}-[0-9]+$"}},
        required=_PACK_SAID,
        closed=True,
    ),
    "DeletedImagePack": record({"id": PACK}, {"id": _PACK_ANSWER["id"]}, required=("id",), closed=True),
    "Purged": record(
        {"job": f"job:{PACK}", "tenant": "default", "id": PACK},
        {"job": {"type": "string"}, "tenant": {"type": "string"}, "id": _PACK_ANSWER["id"]},
        required=("job", "tenant", "id"),
        closed=True,
    ),
    "Anything": record({}, {}),
    "Error": record(
        {
            "id": "9f2c7a10d4e6b835",
            "status": 400,
            "code": "INVALID",
            "message": "The width is not possible.",
            "parameter": "width",
            "expected": "1 to 4096",
            "got": "0",
        },
        {
            "id": {"type": "string", "description": "The id of this error; for a 5xx, the server's log has it too."},
            "status": {"type": "integer"},
            "code": {"type": "string", "examples": [code.value for code in ErrorCode]},
            "message": {"type": "string"},
            "parameter": {"type": "string"},
            "expected": {"type": "string"},
            "got": {"type": "string"},
            "plan": {"type": "object", "description": "The cost of a change that was refused without force."},
            "existing": {"type": "string", "description": "The id of the pack that already has the value."},
        },
        required=("id", "status", "code", "message"),
        closed=True,
    ),
    "Problem": record(
        {"type": "about:blank", "title": "There is no such pack.", "status": 404, "code": "NOT_FOUND"},
        {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"type": "string"},
            "parameter": {"type": "string"},
            "expected": {"type": "string"},
            "got": {"type": "string"},
            "reference": {"type": "string"},
        },
        required=("type", "title", "status"),
        closed=True,
    ),
    "Picture": record(
        {
            "src": "https://images.example/i/default/…/w300-h450-crop-center-q80.jpg",
            "width": 300,
            "height": 450,
            "sources": [],
            "thumbhash": "1QcSHQRnh493V4dIh4eXh1h4kJUI",
            "dominantColor": "#7f5a3c",
            "state": "READY",
        },
        {
            "src": {"type": "string"},
            "width": SIDE,
            "height": SIDE,
            "sources": {
                "type": "array",
                "items": record(
                    {},
                    {
                        "mediaType": {"type": "string"},
                        "media": {"type": ["string", "null"]},
                        "sizes": {"type": ["string", "null"]},
                        "srcset": {"type": "string"},
                        "width": SIDE,
                        "height": SIDE,
                    },
                    required=("mediaType", "media", "sizes", "srcset", "width", "height"),
                    closed=True,
                ),
            },
            "thumbhash": {"type": ["string", "null"]},
            "dominantColor": {"type": ["string", "null"]},
            "state": {"type": "string", "enum": ["PENDING", "READY", "FAILED"]},
        },
        required=("src", "width", "height", "sources", "thumbhash", "dominantColor", "state"),
        closed=True,
    ),
}
