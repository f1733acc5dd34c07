"""The change feed: the changed and deleted packs and locations since a cursor."""

from packshot.catalog.configuration import epochs
from packshot.catalog.packs import change_feed
from packshot.catalog.packs.change_feed import ChangePage
from resolvers.caller import Caller


def list_changes(caller: Caller, *, first: int, after: str | None) -> ChangePage:
    """Return the changes after a cursor; see `packshot.catalog.packs.change_feed.list_changes`.

    Raises:
        Limit, Invalid: `first` or `after` is not valid.
        Resync: the history since the cursor is no longer known.
    """
    with caller.site.catalog.read(caller.tenant) as tx:
        return change_feed.list_changes(tx, first=first, after=after)


def get_epoch(caller: Caller) -> str:
    """Return the id of the current epoch. A restored database begins a new one."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return epochs.get_epoch(tx)
