"""Turn refusals of the core into GraphQL errors, with paths in GraphQL's names."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from graphql import GraphQLError
from strawberry.utils.str_converters import to_camel_case

from packshot.errors import PackshotError
from schema.request.threads import ThreadPool, ThreadsBusy

if TYPE_CHECKING:
    from schema.request.context import Context, Info

T = TypeVar("T")

# Names that are not the camel case of the core's name.
_NAMES = {"include_all": "useResizeIncludeAll"}


def field_path(field: tuple[str, ...]) -> list[str]:
    """Spell the path of a core value in GraphQL's names; list indexes become strings."""
    return [_NAMES.get(name) or to_camel_case(name) for name in field]


async def read(info: "Info", act: Callable[[], T]) -> T:
    """Run `act` in a thread for a query; a refusal becomes a top-level error with its code.

    Raises:
        GraphQLError: the core refused; `extensions` has code, field, expected and got.
    """
    context = info.context
    with refusing():
        return await run_in(info, context.threads.resolvers, act)


async def run_in(info: "Info", threads: ThreadPool, act: Callable[..., T], *args: Any) -> T:
    """Run `act` in a thread of that pool, within the share of the caller's tenant.

    Raises:
        GraphQLError: too many calls of the tenant wait for these threads; nothing was changed.
    """
    context = info.context
    try:
        return await threads.run(act, *args, tenant=context.caller.tenant)
    except ThreadsBusy as error:
        raise overloaded(context, error) from None


def overloaded(context: "Context", error: ThreadsBusy) -> GraphQLError:
    """Return the error that tells a client to retry later, and set the response's `Retry-After`."""
    context.retry_after_seconds = error.retry_after
    return GraphQLError(error.message, extensions={"code": error.code, "retryAfterSeconds": error.retry_after})


@contextmanager
def refusing() -> Iterator[None]:
    """Turn a refusal of the core into a top-level error."""
    try:
        yield
    except PackshotError as error:
        raise refused(error) from None


def refused(error: PackshotError) -> GraphQLError:
    """Return the top-level error for a refusal."""
    return GraphQLError(
        error.message,
        extensions={
            "code": error.code.value,
            "field": field_path(error.field) or None,
            "expected": error.expected,
            "got": error.got,
        },
    )
