"""Purges: what is or was to be removed from the CDN."""

from collections.abc import Sequence

from packshot.catalog.database.pages import Page
from packshot.catalog.purging import purges
from packshot.catalog.purging.purges import Purge
from resolvers.caller import Caller


def list_purges(caller: Caller, *, first: int, after: str | None, total: bool = True) -> Page[Purge]:
    """Return a page of the tenant's purges, newest first."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return purges.list_purges(tx, first=first, after=after, total=total)


def get_purges(caller: Caller, ids: Sequence[str]) -> dict[str, Purge]:
    """Return those purges of the tenant that there are, by id."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return purges.get_purges(tx, ids)
