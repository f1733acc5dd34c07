"""Inputs are patches: absent fields stay unchanged, null clears."""

from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar

import strawberry

from schema.base.enums import core

T = TypeVar("T")


def given(value: T | None) -> T | None:
    """Return an optional argument; None if it is absent or null."""
    return None if value is strawberry.UNSET else value


def sent(fields: Mapping[str, strawberry.Some[Any] | None]) -> dict[str, Any]:
    """Return the fields that the client sent, as core values by name; None for null."""
    return {name: to_core(field.value) for name, field in fields.items() if field is not None}


def to_core(value: Any) -> Any:
    """Return the core value of a scalar, an enum value, an input object, or a list of these."""
    if isinstance(value, list):
        return tuple(to_core(item) for item in value)
    if isinstance(value, Enum):
        return core(value)
    return value.to_core() if hasattr(value, "to_core") else value
