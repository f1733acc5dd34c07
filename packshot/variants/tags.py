"""Purge tags: each response to a CDN carries them, so that copies can be purged. In lower case, because some CDNs
ignore case.
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class TagKind(StrEnum):
    """What a tag stands for; its first letter in the tag."""

    TENANT = "t"
    PACK = "p"
    LOCATION = "l"
    ERASE = "e"


class Tag(NamedTuple):
    """A parsed tag; `name` is a location's name or a pack's id, and empty for a tenant."""

    kind: TagKind
    tenant: str
    name: str


def parse_tag(text: str) -> Tag:
    """Parse a tag.

    Raises:
        ValueError: it is not a tag.

    >>> parse_tag(location_tag("films", "thumb"))
    Tag(kind=<TagKind.LOCATION: 'l'>, tenant='films', name='thumb')
    """
    kind, _, rest = text.partition(":")
    tenant, _, name = rest.partition(":")
    return Tag(TagKind(kind), tenant, name)


def tenant_tag(tenant: str) -> str:
    """Return the purge tag of everything that a tenant shows."""
    return f"t:{tenant}"


def pack_tag(tenant: str, pack_id: str) -> str:
    """Return the purge tag of everything that a pack shows."""
    return f"p:{tenant}:{pack_id}"


def location_tag(tenant: str, name: str) -> str:
    """Return the purge tag of everything whose resolution consulted a location."""
    return f"l:{tenant}:{name}"


def erase_tag(tenant: str, pack_id: str) -> str:
    """Return the purge tag of a pack's immutable URLs: they never go stale, but an erasure must remove them."""
    return f"e:{tenant}:{pack_id}"


def purge_tags(tenant: str, pack_id: str, consulted: Iterable[str]) -> tuple[str, ...]:
    """Return the tags of a response: the tenant, the pack, and every location consulted."""
    return tenant_tag(tenant), pack_tag(tenant, pack_id), *(location_tag(tenant, name) for name in consulted)
