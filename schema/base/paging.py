"""Keyset connections: cursors say after which object to go on, so pages never shift."""

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
    str | None, strawberry.argument(description="The cursor to go on after; null or empty: from the start.")
]


@strawberry.type(description="What lies around a page.")
class PageInfo:
    has_next_page: bool = strawberry.field(description="Whether more follow.")
    has_previous_page: bool = strawberry.field(description="Whether the page began after a cursor.")
    start_cursor: str | None = strawberry.field(description="The first object's cursor; null on an empty page.")
    end_cursor: str | None = strawberry.field(
        description="The last object's cursor, for `after`; null on an empty page."
    )


@strawberry.type(description="One object of a page, with its cursor.")
class Edge(Generic[T]):
    cursor: str = strawberry.field(description="For `after`, to go on after this object.")
    node: T = strawberry.field(description="The object.")


@strawberry.type(description="One page of a listing.")
class Connection(Generic[T]):
    edges: list[Edge[T]] = strawberry.field(description="The page's objects with their cursors.")
    nodes: list[T] = strawberry.field(description="The page's objects.")
    page_info: PageInfo = strawberry.field(description="What lies around the page.")
    total: strawberry.Private[int | None]

    @strawberry.field(description="How many objects all pages have together.")
    def total_count(self) -> int:
        assert self.total is not None, "it was asked for, so it was counted"
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
    """Whether an operation asks how many objects all pages of a connection have; they are not counted for nothing."""
    return asks_for(info, "totalCount")


def check_length(values: Sequence[object], *field: str) -> None:
    """Raise `Limit` if a list argument is longer than a page."""
    if len(values) > MAX_PAGE:
        raise Limit("That list is too long.", field=field, expected=f"at most {MAX_PAGE}", got=len(values))
