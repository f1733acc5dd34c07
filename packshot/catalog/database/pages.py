"""Keyset pages. A cursor names the row after which a page begins, so pages do not shift when rows are added."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx
from packshot.errors import Invalid, Limit

T = TypeVar("T")
MAX_PAGE = 100


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows in order, each with its cursor.

    Attributes:
        total: the number of rows on all pages; None: not counted.
    """

    items: tuple[T, ...]
    cursors: tuple[str, ...]
    has_next: bool
    has_previous: bool
    total: int | None


@dataclass(frozen=True, slots=True)
class Order:
    """The columns that order a list; together they are unique."""

    columns: tuple[sa.ColumnElement[Any], ...]
    descending: bool = False


def fetch_page(
    tx: Tx,
    statement: sa.Select[Any],
    order: Order,
    convert: Callable[[Any], T],
    *,
    first: int,
    after: str | None,
    total: bool = True,
) -> Page[T]:
    """Run `statement` for one page of at most `first` rows after the cursor `after`.

    Args:
        after: an empty cursor or None is the beginning.
        total: count the rows of all pages, which reads every row.

    Raises:
        Limit: `first` is not from 1 to 100.
        Invalid: `after` is not a cursor of this list.
    """
    check_first(first)
    counted = sa.select(sa.func.count()).select_from(statement.subquery())
    keys = [column.label(f"_key_{index}") for index, column in enumerate(order.columns)]
    paged = statement.add_columns(*keys).limit(first + 1)
    paged = paged.order_by(*(c.desc() if order.descending else c.asc() for c in order.columns))
    if after:
        left, right = sa.tuple_(*order.columns), sa.tuple_(*_decode(after, order.columns))
        paged = paged.where(left < right if order.descending else left > right)
    rows = tx.connection.execute(paged).all()
    shown = rows[:first]
    return Page(
        items=tuple(convert(row) for row in shown),
        cursors=tuple(_encode([getattr(row, key.name) for key in keys]) for row in shown),
        has_next=len(rows) > first,
        has_previous=bool(after),
        total=(tx.connection.scalar(counted) or 0) if total else None,
    )


def check_first(first: int) -> None:
    """Raise `Limit` unless a page may have that many rows."""
    if not 1 <= first <= MAX_PAGE:
        raise Limit("That page size is not possible.", field=("first",), expected=f"1 to {MAX_PAGE}", got=first)


def _encode(values: Sequence[Any]) -> str:
    plain = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps(plain).encode()).decode().rstrip("=")


def _decode(cursor: str, columns: Sequence[sa.ColumnElement[Any]]) -> list[sa.ColumnElement[Any]]:
    try:
        values = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not isinstance(values, list) or len(values) != len(columns):
            raise ValueError
        return [_literal(value, column) for value, column in zip(values, columns, strict=True)]
    except (binascii.Error, ValueError, TypeError, RecursionError, OverflowError):
        raise Invalid(
            "That is no cursor of this listing.", field=("after",), expected="an endCursor of it", got=cursor
        ) from None


def _literal(value: Any, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    kind = column.type.python_type
    if kind is datetime:
        value = datetime.fromisoformat(value)
        if value.tzinfo is None:
            raise ValueError
        value = value.astimezone(UTC)
    if type(value) is not kind or (kind is int and abs(value) >= 2**63):
        raise ValueError
    if kind is str and ("\0" in value or not value.encode()):
        raise ValueError
    return sa.literal(value, column.type)
