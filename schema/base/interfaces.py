"""The interfaces, and the kinds of refusal that a payload carries."""

import strawberry

from schema.base.enums import ErrorCode


@strawberry.interface(description="Whatever has an id of its own and can be fetched by it.")
class Node:
    id: strawberry.ID = strawberry.field(
        description="Opaque but for a pack's, which is the id of its URLs: 24 lower-case hex digits."
    )


@strawberry.interface(description="Why a mutation was refused; asking again gets the same answer.")
class UserError:
    code: ErrorCode = strawberry.field(description="What kind of refusal it is.")
    message: str = strawberry.field(description="One sentence for a person.")
    field: list[str] | None = strawberry.field(
        default=None, description='Where the offending value is, from the argument on: ["input", "crop", "topLeftX"].'
    )
    expected: str | None = strawberry.field(default=None, description="What would have been accepted.")
    got: str | None = strawberry.field(default=None, description="What came instead, shortened.")


@strawberry.type(description="A value was refused.")
class InputError(UserError):
    pass


@strawberry.type(description="The object has moved on from the version that the caller expected.")
class VersionConflict(UserError):
    current_version: int = strawberry.field(description="The version it has now.")
    current: Node = strawberry.field(description="The object as it is now.")


@strawberry.type(description="A value that must be unique belongs to something else already.")
class Taken(UserError):
    existing: Node = strawberry.field(description="What has it.")
