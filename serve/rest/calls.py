"""What an operation of the REST admin face is, and one call of it once it was read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias

from packshot.errors import Invalid, NotFound
from packshot.model import NAME, PACK_ID
from resolvers.caller import Caller, Scope

Document: TypeAlias = dict[str, Any] | list[dict[str, Any]]


class Takes(Enum):
    """What an operation takes as its body."""

    NOTHING = "nothing"
    OBJECT = "a JSON object"
    # Old clients send `{}` along where nothing is to be said.
    MAYBE_OBJECT = "a JSON object, or nothing"
    PICTURE = "a picture's bytes, or a form with a file"


class Work(Enum):
    """What an operation spends its time on."""

    EDITS = "the database"
    PICTURES = "pictures and the store"
    FETCHES = "another host"


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        path: the path's parameters, decoded.
        query: the query's parameters; of a repeated one the first.
        body: the JSON object that came; empty where none did.
        picture: the file with the bytes that came; it is gone after the call.
    """

    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    picture: Path | None = None

    @property
    def pack_id(self) -> str:
        """The pack that the path names; what follows the first hyphen is a cache buster.

        Raises:
            NotFound: no pack can have that id.
        """
        named = self.path["id"]
        pack_id = named.partition("-")[0]
        if not PACK_ID.fullmatch(pack_id):
            raise no_pack(named)
        return pack_id

    @property
    def location(self) -> str:
        """The location that the path names.

        Raises:
            NotFound: none can have that name.
        """
        name = self.path["location"]
        if not NAME.fullmatch(name):
            raise NotFound(f"There is no location {name!r}.", field=("location",), got=name)
        return name

    @property
    def force(self) -> bool:
        """What the query's `force` says; absent is false.

        Raises:
            Invalid: neither true nor false.
        """
        said = self.query.get("force", "false")
        if said.lower() not in ("true", "false"):
            raise Invalid("`force` is true or false.", field=("force",), expected="true or false", got=said)
        return said.lower() == "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path: what does it, and all that the description of the API says of it.

    Attributes:
        id: its name in the description.
        scopes: what the token must have, as the mutations of GraphQL that do the same want it.
        act: does it; runs in a thread, and may raise any refusal.
        work: what it spends its time on, which decides whose threads it takes.
        body, answer: names of schemas; of what is taken and of what is answered.
        query: names of the parameters that it looks at.
        refusals: statuses of its refusals, besides those that every operation has.
    """

    id: str
    method: str
    path: str
    summary: str
    scopes: tuple[Scope, ...]
    act: Callable[[Call], Document]
    answer: str
    takes: Takes = Takes.NOTHING
    body: str | None = None
    query: tuple[str, ...] = ()
    refusals: tuple[int, ...] = ()
    status: int = 200
    work: Work = Work.EDITS


def no_pack(named: str) -> NotFound:
    """Return the refusal for a pack that there is not, or not in this tenant."""
    return NotFound("There is no such pack.", field=("pack_id",), expected="a pack of this tenant", got=named)
