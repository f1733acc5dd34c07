"""Bodies of calls: a JSON object of bounded size, or an image that is written straight to disk."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from starlette.requests import Request

from packshot.errors import Invalid
from packshot.site import Site
from serve.http.multipart import Form
from serve.http.upload_stream import announced_bytes, read_body, receive

MAX_OBJECT_BYTES = 1 << 16


async def read_object(request: Request, *, may_lack: bool = False) -> dict[str, Any]:
    """Return the JSON object in a request's body; its media type does not matter.

    Args:
        may_lack: an empty body counts as an empty object.

    Raises:
        TooLarge: the body is longer than 64 KiB.
        Invalid: the body is no JSON object. Old clients look for `[Invalid Json]`.
    """
    body = await read_body(request, MAX_OBJECT_BYTES)
    if not body and may_lack:
        return {}
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _no_object(f"{error}" if body else "nothing") from None
    if not isinstance(found, dict):
        raise _no_object({list: "a list"}.get(type(found), "a single value"))
    return found


def _no_object(got: str) -> Invalid:
    return Invalid(
        "[Invalid Json] The body is not a JSON object.", field=("body",), expected="an object such as {}", got=got
    )


@asynccontextmanager
async def receive_picture(request: Request, site: Site) -> AsyncIterator[Path]:
    """Write an image to a file that is deleted afterwards: the first file of a form, or else the body itself.

    Raises:
        Invalid: the form is malformed, or has no file.
        TooLarge: the image has, or announces, more bytes than an original may have.
    """
    most = site.settings.max_upload_bytes
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        form = Form(request, file=None)
        await form.fields()
        chunks, announced = form.file(), 0
    else:
        chunks, announced = request.stream(), announced_bytes(request)
    async with receive(chunks, site.incoming, most=most, announced=announced) as path:
        yield path
