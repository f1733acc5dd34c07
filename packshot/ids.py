"""Global ids: how GraphQL, REST, webhooks and the command line name an object, such as `job:3a91fb88e4eb3bdecf137344`.

A global id is the kind of the object and its own id. Only packs have no kind: their global id is their own id.
"""

from enum import StrEnum


class IdKind(StrEnum):
    """The first part of a global id."""

    DELIVERY = "delivery"
    JOB = "job"
    LOCATION = "location"
    PACK_LOCATION = "packLocation"
    PURGE = "purge"
    TENANT = "tenant"
    VARIANT = "variant"
    WEBHOOK = "webhook"


def global_id(kind: IdKind, *parts: str) -> str:
    """Return the global id of an object. A pack location has two parts: the pack's id and the location's name."""
    return ":".join((kind, *parts))


def split_global_id(text: str) -> tuple[str, str]:
    """Return the kind and the own id in a global id. The kind may be unknown."""
    kind, _, own_id = text.partition(":")
    return kind, own_id


def own_id(kind: IdKind, text: str) -> str:
    """Return the own id of an object from its global id. A text without this kind is returned unchanged."""
    return text.removeprefix(f"{kind}:")
