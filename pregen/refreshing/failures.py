"""Sort what a background step raises: the item's own failure, an outage of ours, or an exception nobody foresaw."""

import logging

from packshot import faults
from packshot.errors import Internal, PackshotError
from packshot.maintenance.retrying import describe_outage, is_outage


def sort_failure(log: logging.Logger, error: Exception, message: str, *args: object) -> PackshotError | str:
    """Return the failure that an item has, or a text: the outage that it waits for.

    An unforeseen exception is logged, and its failure is an `Internal` that names the log entry. The caller gives the
    item a few attempts. An outage counts against no item, so it is logged once a minute.
    """
    if isinstance(error, PackshotError):
        return error
    if is_outage(error):
        faults.count(log, error, f"{message}: put off after an outage", *args)
        return describe_outage(error)
    return Internal(faults.record(log, error, message, *args))
