"""Reports: the failures of a job as a table, at a signed URL."""

import csv
from collections.abc import Iterator
from dataclasses import astuple
from datetime import UTC, datetime, timedelta
from io import StringIO

from packshot.catalog.work import jobs
from packshot.catalog.work.failure_reports import read_report
from packshot.errors import NotFound
from packshot.site import Site
from resolvers.caller import Caller
from resolvers.urls.build import report_url
from resolvers.urls.signatures import is_signed, sign

LIFETIME = timedelta(minutes=15)
ROWS_AT_ONCE = 500
COLUMNS = ("pack id", "asset id", "external id", "location", "code", "message", "attempts")
# Spreadsheets read a cell that begins like this as a formula, also after blanks.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def sign_report(caller: Caller, job_id: str) -> str:
    """Return a URL at which a job's failures can be read for fifteen minutes, without further authentication."""
    expires = int((datetime.now(UTC) + LIFETIME).timestamp())
    signature = sign(caller.site, _signed(caller.tenant, job_id, expires))
    return report_url(caller.origin, caller.tenant, job_id, expires, signature)


def open_report(site: Site, tenant: str, job_id: str, expires: str, signature: str) -> Iterator[str]:
    """Return the report that a signed URL names, in pieces, as CSV (RFC 4180).

    Raises:
        NotFound: the signature is wrong, the URL has expired, or the job no longer exists.
    """
    absent = NotFound("There is no such report.", expected="a new URL from `Job.reportUrl`")
    if not is_signed(site, _signed(tenant, job_id, expires), signature):
        raise absent
    if int(expires) <= datetime.now(UTC).timestamp():
        raise absent
    with site.catalog.read(tenant) as tx:
        if job_id not in jobs.get_jobs(tx, [job_id]):
            raise absent
    return _write(site, tenant, job_id)


def _signed(tenant: str, job_id: str, expires: int | str) -> str:
    return f"report {tenant}/{job_id} {expires}"


def _write(site: Site, tenant: str, job_id: str) -> Iterator[str]:
    yield _line(COLUMNS)
    last = None
    while True:
        # One transaction a page, so that a slow client holds none open.
        with site.catalog.read(tenant) as tx:
            rows = read_report(tx, job_id, after=last, limit=ROWS_AT_ONCE)
        if not rows:
            return
        yield "".join(_line(astuple(row)) for row in rows)
        last = rows[-1]


def _line(values: tuple[object, ...]) -> str:
    line = StringIO()
    csv.writer(line).writerow([_harmless(value) for value in values])
    return line.getvalue()


def _harmless(value: object) -> object:
    """Return a text that no spreadsheet runs as a formula. Ids and messages may come from any client."""
    is_formula = isinstance(value, str) and (value.startswith(_FORMULA) or value.lstrip().startswith(_FORMULA))
    return f"'{value}" if is_formula else value
