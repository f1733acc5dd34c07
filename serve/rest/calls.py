"""An operation of the REST admin API, and one call of it."""

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
    """The body that an operation takes."""

    NOTHING = "nothing"
    OBJECT = "a JSON object"
    # Old clients send `{}` where no body is needed.
    MAYBE_OBJECT = "a JSON object, or nothing"
    PICTURE = "an image's bytes, or a form with a file"


class Work(Enum):
    """What an operation spends its time on."""

    EDITS = "the database"
    PICTURES = "images and the store"
    FETCHES = "another host"


@dataclass(frozen=True, slots=True)
class Call:
    """One call.

    Attributes:
        path: the path's parameters, decoded.
        query: the query's parameters; the first value of a repeated one.
        body: the JSON object of the body; empty if there is none.
        picture: the file with the image of the body; it is deleted after the call.
    """

    caller: Caller
    path: Mapping[str, str]
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    picture: Path | None = None

    @property
    def pack_id(self) -> str:
        """The pack that the path names; the first hyphen and what follows it are a cache buster.

        Raises:
            NotFound: no pack can have this id.
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
            NotFound: no location can have this name.
        """
        name = self.path["location"]
        if not NAME.fullmatch(name):
            raise NotFound(f"There is no location {name!r}.", field=("location",), got=name)
        return name

    @property
    def force(self) -> bool:
        """The query's `force`; false if absent.

        Raises:
            Invalid: it is neither true nor false.
        """
        said = self.query.get("force", "false")
        if said.lower() not in ("true", "false"):
            raise Invalid("`force` must be true or false.", field=("force",), expected="true or false", got=said)
        return said.lower() == "true"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path: its function, and its entry in the description of the API.

    Attributes:
        id: its name in the description.
        scopes: scopes that the token needs, those of the equivalent GraphQL mutations.
        act: the function; it runs in a thread, and may raise any refusal.
        work: what it spends its time on, which decides the thread pool.
        body, answer: names of the schemas of the body and of the response.
        query: names of the query parameters that it reads.
        refusals: statuses of its refusals, besides those of every operation.
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
    """Return the refusal for a pack that the tenant does not have."""
    return NotFound("There is no such pack.", field=("pack_id",), expected="a pack of this tenant", got=named)
