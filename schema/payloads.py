"""Payloads: what a mutation made, or why it refused."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, TypeAlias, TypeVar

import anyio.to_thread
import strawberry

from packshot import errors
from packshot.errors import PackshotError
from resolvers.caller import Caller
from schema.context import Info
from schema.enums import ErrorCode
from schema.interfaces import InputError, Taken, UserError, VersionConflict
from schema.jobs import Job
from schema.locations import ImageLocation
from schema.nodes import load_node
from schema.packs import Pack, PackLocation
from schema.refusals import field_path
from schema.uploads import Upload

ExpectedVersion: TypeAlias = Annotated[
    int | None,
    strawberry.argument(description="Refuse unless it is at this version; without it the last edit wins."),
]


def _user_errors() -> list[UserError]:
    return strawberry.field(default_factory=list, description="Why it was refused; empty: it was done.")  # type: ignore[no-any-return]


@strawberry.type(description="A location that was created or changed.")
class LocationPayload:
    location: ImageLocation | None = strawberry.field(default=None, description="The location as it is now.")
    job: Job | None = strawberry.field(
        default=None, description="The job that renders what it asks for; null: nothing."
    )
    user_errors: list[UserError] = _user_errors()


@strawberry.type(description="A pack that was created or changed.")
class PackPayload:
    pack: Pack | None = strawberry.field(default=None, description="The pack as it is now.")
    job: Job | None = strawberry.field(default=None, description="The job that renders it; null: nothing to render.")
    user_errors: list[UserError] = _user_errors()


@strawberry.type(description="A pack location that was changed.")
class PackLocationPayload:
    pack_location: PackLocation | None = strawberry.field(default=None, description="The pack location as it is now.")
    pack: Pack | None = strawberry.field(default=None, description="Its pack as it is now.")
    job: Job | None = strawberry.field(default=None, description="The job that renders it.")
    user_errors: list[UserError] = _user_errors()


@strawberry.type(description="An upload that was announced.")
class UploadPayload:
    upload: Upload | None = strawberry.field(default=None, description="Where to send the bytes.")
    user_errors: list[UserError] = _user_errors()


@strawberry.type(description="A job that was started or changed.")
class JobPayload:
    job: Job | None = strawberry.field(default=None, description="The job as it is now.")
    user_errors: list[UserError] = _user_errors()


P = TypeVar("P")


async def payload(info: Info, kind: Callable[..., P], act: Callable[[Caller], P], *, under: tuple[str, ...] = ()) -> P:
    """Run a mutation in a thread and return its payload, or one that says why it was refused.

    Args:
        kind: makes a payload that has nothing but `user_errors`.
        under: the argument that holds the values, where the core's paths begin within it.
    """
    # Mutations run one after another, so nothing is read again before this one is done.
    info.context.forget()
    try:
        return await anyio.to_thread.run_sync(partial(act, info.context.caller))
    except PackshotError as error:
        # Of what the core names, only the version is an argument beside `input`.
        path = error.field if error.field[:1] == ("expected_version",) else (*under, *error.field)
        return kind(user_errors=[await _user_error(info, error, path)])


async def _user_error(info: Info, error: PackshotError, path: tuple[str, ...]) -> UserError:
    code, message, field = ErrorCode[error.code.name], error.message, field_path(path) or None
    # Whatever it points at may be gone by now, or never have been.
    if isinstance(error, errors.VersionConflict) and (current := await load_node(info, error.current_id)):
        return VersionConflict(
            code=code,
            message=message,
            field=field,
            expected=error.expected,
            got=error.got,
            current_version=error.current_version,
            current=current,
        )
    if isinstance(error, errors.Taken) and (existing := await load_node(info, error.existing_id)):
        return Taken(code=code, message=message, field=field, expected=error.expected, got=error.got, existing=existing)
    return InputError(code=code, message=message, field=field, expected=error.expected, got=error.got)
