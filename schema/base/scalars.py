"""Custom scalars: DateTime is UTC with `Z`; Long is a JSON number that JavaScript represents exactly."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NewType
from urllib.parse import urlsplit

import strawberry
from graphql import GraphQLError

Long = NewType("Long", int)
URL = NewType("URL", str)

MAX_LONG = 2**53 - 1


def write_long(value: Any) -> int:
    """Serialize a whole number; one outside the range is a bug."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > MAX_LONG:
        raise GraphQLError(f"Long cannot represent {value!r}.")
    return value


def read_long(value: Any) -> Long:
    """Parse a whole number from a client, such as 4711 or, as for Int, 4711.0.

    Raises:
        GraphQLError: it is not a whole number, or is outside ±(2^53-1).
    """
    if isinstance(value, float) and value.is_integer():
        # Some clients have only one number type.
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise GraphQLError(f"Long is a whole number, not {value!r}.")
    if abs(value) > MAX_LONG:
        raise GraphQLError(f"Long is within ±{MAX_LONG}, not {value}.")
    return Long(value)


def write_datetime(value: datetime) -> str:
    """Serialize a moment with microseconds and `Z`, so that equal moments have equal texts."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def read_datetime(value: Any) -> datetime:
    """Parse a moment from a client, in any time zone.

    Raises:
        GraphQLError: it is not a date and time, or has no time zone.
    """
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise GraphQLError(
            f"DateTime is a date and time with its zone, like 2026-11-21T12:00:00Z, not {value!r}."
        ) from None


def read_url(value: Any) -> URL:
    """Parse an absolute http or https URL from a client.

    Raises:
        GraphQLError: it is not such a URL.
    """
    try:
        parts = urlsplit(value) if isinstance(value, str) else None
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise GraphQLError(f"URL is an absolute http or https URL, not {value!r}.")
    return URL(value)


SCALARS: Mapping[object, Any] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="A moment in UTC with `Z`, such as 2026-11-21T12:00:00.123456Z. Inputs may have any time zone.",
        specified_by_url="https://scalars.graphql.org/andimarek/date-time",
        serialize=write_datetime,
        parse_value=read_datetime,
    ),
    URL: strawberry.scalar(
        name="URL",
        description="An absolute http or https URL.",
        specified_by_url="https://www.rfc-editor.org/rfc/rfc3986",
        serialize=str,
        parse_value=read_url,
    ),
    Long: strawberry.scalar(
        name="Long",
        description="A whole number within ±(2^53-1), as a JSON number.",
        serialize=write_long,
        parse_value=read_long,
    ),
}
