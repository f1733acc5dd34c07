"""The GraphQL interfaces, and the kinds of refusal in a payload."""

import strawberry

from schema.base.enums import ErrorCode


@strawberry.interface(description="An object that has an id and can be fetched by it.")
class Node:
    id: strawberry.ID = strawberry.field(
        description="The id of the object, for `node`. A pack's id is the one in its URLs: 24 lower-case hex digits. "
        "Other ids have a prefix, such as `location:main`; treat them as opaque."
    )


@strawberry.interface(description="Why a mutation was refused. The same request is refused again.")
class UserError:
    code: ErrorCode = strawberry.field(description="The kind of refusal.")
    message: str = strawberry.field(description="One sentence for people.")
    field: list[str] | None = strawberry.field(
        default=None, description='The path to the refused value, from the argument on: ["input", "crop", "topLeftX"].'
    )
    expected: str | None = strawberry.field(
        default=None, description="What would have been accepted, such as `0.0 to 1.0`."
    )
    got: str | None = strawberry.field(default=None, description="What was sent, shortened.")


@strawberry.type(description="A value was refused.")
class InputError(UserError):
    pass


@strawberry.type(description="The object has another version than the caller expected.")
class VersionConflict(UserError):
    current_version: int = strawberry.field(description="Its current version.")
    current: Node = strawberry.field(description="The object in its current state.")


@strawberry.type(description="The value must be unique, and another object has it.")
class Taken(UserError):
    existing: Node = strawberry.field(description="The object that has the value.")
