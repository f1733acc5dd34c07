"""The scope that each root field requires, checked first and shown in the schema.

`schema.execution.visibility` lists which fields below them require `read` too.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.schema_directive import Location
from strawberry.types.field import StrawberryField

from packshot.errors import Forbidden
from resolvers.caller import Scope
from schema.base.enums import ErrorCode
from schema.base.interfaces import InputError
from schema.base.refusals import refused


@strawberry.schema_directive(
    locations=[Location.FIELD_DEFINITION], description="The token must have this scope.", name="requires"
)
class Requires:
    scope: str = strawberry.directive_field(name="scope")


class Needs(FieldExtension):
    """Restrict a field to callers whose token has the scope.

    Without the scope, a mutation answers with a user error, any other field with a top-level error.
    """

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    def apply(self, field: StrawberryField) -> None:
        field.directives = [*field.directives, Requires(scope=self.scope.value)]

    # Positional only: a field's argument may be named `source` too.
    async def resolve_async(  # type: ignore[override]
        self, next_: Callable[..., Awaitable[Any]], source: Any, info: strawberry.Info, /, **arguments: Any
    ) -> Any:
        try:
            info.context.caller.check(self.scope)
        except Forbidden as error:
            if info.operation.operation.value != "mutation":
                raise refused(error) from None
            told = InputError(
                code=ErrorCode.FORBIDDEN, message=error.message, field=None, expected=error.expected, got=error.got
            )
            return info.return_type.of_type(user_errors=[told])  # type: ignore[union-attr]
        return await next_(source, info, **arguments)


READS = Needs(Scope.READ)
