"""Keyset connections: a cursor names the object after which the next page starts, so pages never shift."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, TypeAlias, TypeVar

import strawberry

from packshot.catalog.database.pages import MAX_PAGE, Page
from packshot.errors import Limit
from schema.base.selection import asks_for

T = TypeVar("T")
C = TypeVar("C")

First: TypeAlias = Annotated[int, strawberry.argument(description=f"How many at most, from 1 to {MAX_PAGE}.")]
After: TypeAlias = Annotated[
    str | None,
    strawberry.argument(description="The `endCursor` of the previous page; null or empty starts at the beginning."),
]


@strawberry.type(description="The position of a page in its list.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether more objects follow.")
    has_previous_page: bool = strawberry.field(description="Whether the page started after a cursor.")
    start_cursor: str | None = strawberry.field(
        description="The cursor of the first object; null if the page is empty."
    )
    end_cursor: str | None = strawberry.field(
        description="The cursor of the last object, for `after`; null if the page is empty."
    )


@strawberry.type(description="One object of a page, with its cursor.")
class Edge(Generic[T]):
    cursor: str = strawberry.field(description="Pass it as `after` to continue after this object.")
    node: T = strawberry.field(description="The object.")


@strawberry.type(description="One page of a list.")
class Connection(Generic[T]):
    edges: list[Edge[T]] = strawberry.field(description="The objects of the page with their cursors.")
    nodes: list[T] = strawberry.field(description="The objects of the page.")
    page_info: PageInfo = strawberry.field(description="The position of the page in its list.")
    total: strawberry.Private[int | None]

    @strawberry.field(description="The number of objects on all pages.")
    def total_count(self) -> int:
        assert self.total is not None, "`asks_total` is true then, so the page counted them"
        return self.total


def connect(page: Page[C], convert: Callable[[C], T]) -> Connection[T]:
    """Return a page of core values as a connection."""
    nodes = [convert(item) for item in page.items]
    return Connection(
        edges=[Edge(cursor=cursor, node=node) for cursor, node in zip(page.cursors, nodes, strict=True)],
        nodes=nodes,
        page_info=PageInfo(
            has_next_page=page.has_next,
            has_previous_page=page.has_previous,
            start_cursor=page.cursors[0] if page.cursors else None,
            end_cursor=page.cursors[-1] if page.cursors else None,
        ),
        total=page.total,
    )


def asks_total(info: Any) -> bool:
    """Whether an operation requests `totalCount` of a connection. Rows are counted only then."""
    return asks_for(info, "totalCount")


def check_length(values: Sequence[object], *field: str) -> None:
    """Raise `Limit` if a list argument is longer than a page."""
    if len(values) > MAX_PAGE:
        raise Limit("The list is too long.", field=field, expected=f"at most {MAX_PAGE}", got=len(values))
