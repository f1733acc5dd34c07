"""Following what changed and what was deleted."""

from packshot.catalog.configuration import epochs
from packshot.catalog.packs import change_feed
from packshot.catalog.packs.change_feed import ChangePage
from resolvers.caller import Caller


def list_changes(caller: Caller, *, first: int, after: str | None) -> ChangePage:
    """Return what changed after a cursor; see `packshot.catalog.packs.change_feed.list_changes`.

    Raises:
        Limit, Invalid: `first` or `after` does not fit.
        Resync: what happened since is not known any more.
    """
    with caller.site.catalog.read(caller.tenant) as tx:
        return change_feed.list_changes(tx, first=first, after=after)


def get_epoch(caller: Caller) -> str:
    """Return the id of the current epoch, which is another one after the database was restored."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return epochs.get_epoch(tx)
