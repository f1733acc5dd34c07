"""Select rows by many keys. One parameter holds all keys, so the statement's text does not grow with them."""

import json
from collections.abc import Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from packshot.catalog.database.transaction import Tx


def is_in(tx: Tx, columns: Sequence[sa.Column[Any]], rows: Collection[Sequence[str]]) -> sa.ColumnElement[bool]:
    """Return the condition that these text columns together equal one of the rows.

    It uses an index that begins with the columns, so only the named rows are read.
    """
    named: sa.Select[Any]
    if tx.connection.dialect.name == "postgresql":
        texts = postgresql.ARRAY(sa.Text)
        lists = [sa.bindparam(None, list(values), texts) for values in zip(*rows, strict=True)]
        lists = lists or [sa.bindparam(None, [], texts) for _ in columns]
        table = sa.func.unnest(*lists).table_valued(*(sa.column(column.name, sa.Text) for column in columns))
        named = sa.select(*table.render_derived().c)
    else:
        each = sa.func.json_each(json.dumps([list(row) for row in rows])).table_valued("value")
        named = sa.select(*(sa.func.json_extract(each.c.value, f"$[{place}]") for place in range(len(columns))))
    return sa.tuple_(*columns).in_(named)
