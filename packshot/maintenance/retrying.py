"""Distinguish outages from faults: a step waits for the end of an outage, and counts a fault.

A background step meets three kinds of exception. A `PackshotError` is the item's own failure. After an outage of the
database, a store, a disk or the renderer, the step pauses and counts nothing against the item. Every other exception
is a fault, and an item has a few attempts (`packshot.catalog.database.backoff.MAX_FAULTS`).
"""

from packshot import faults
from packshot.catalog.database.transaction import DatabaseFault, is_database_away
from packshot.outages import recognise
from packshot.render.processes.lanes import RendererClosed
from packshot.storage.base import NoSuchObject


def is_outage(error: BaseException) -> bool:
    """Return whether waiting may help: a part of the installation is down, full or stopping."""
    if isinstance(error, DatabaseFault) and (error.connection_invalidated or recognise(error) is not None):
        return True
    return isinstance(error, OSError | NoSuchObject | RendererClosed) or is_database_away(error)


def describe_outage(error: BaseException) -> str:
    """Return a sentence about the outage for users, without statements and credentials."""
    if isinstance(error, RendererClosed):
        return "The render process ended."
    if isinstance(error, NoSuchObject):
        return f"An object is missing from its store: {error.args[0]}"
    if isinstance(error, OSError):
        return faults.summarise(error)
    outage = recognise(error)
    return f"The database failed: {outage.reason if outage else type(error).__name__}."
