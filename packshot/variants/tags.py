"""Purge tags: what a CDN is told of each answer, so that it can forget it. In lower case: some ignore case."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class TagKind(StrEnum):
    """What a tag stands for, as its first letter says."""

    TENANT = "t"
    PACK = "p"
    LOCATION = "l"
    ERASE = "e"


class Tag(NamedTuple):
    """A tag taken apart; `name` is a location's name or a pack's id, and of a tenant's own tag empty."""

    kind: TagKind
    tenant: str
    name: str


def parse_tag(text: str) -> Tag:
    """Take a tag apart.

    Raises:
        ValueError: it is none.

    >>> parse_tag(location_tag("films", "thumb"))
    Tag(kind=<TagKind.LOCATION: 'l'>, tenant='films', name='thumb')
    """
    kind, _, rest = text.partition(":")
    tenant, _, name = rest.partition(":")
    return Tag(TagKind(kind), tenant, name)


def tenant_tag(tenant: str) -> str:
    """Return the purge tag of all that a tenant shows."""
    return f"t:{tenant}"


def pack_tag(tenant: str, pack_id: str) -> str:
    """Return the purge tag of all that a pack shows."""
    return f"p:{tenant}:{pack_id}"


def location_tag(tenant: str, name: str) -> str:
    """Return the purge tag of all whose resolution looked at a location."""
    return f"l:{tenant}:{name}"


def erase_tag(tenant: str, pack_id: str) -> str:
    """Return the purge tag of what a pack's immutable URLs gave: those never go stale, but may have to go."""
    return f"e:{tenant}:{pack_id}"


def purge_tags(tenant: str, pack_id: str, consulted: Iterable[str]) -> tuple[str, ...]:
    """Return the tags of an answer: the tenant, the pack, and every location consulted for it."""
    return tenant_tag(tenant), pack_tag(tenant, pack_id), *(location_tag(tenant, name) for name in consulted)
