"""Checks of the parts of an open site; each returns its finding, or raises the part's exception."""

import os
import secrets
import tempfile
from pathlib import Path

from dramatiq import Broker

from packshot.catalog.database import migrate
from packshot.catalog.database.transaction import Catalog
from packshot.catalog.work.worker_state import check_write, read_worker_state
from packshot.cdn.base import ProviderBusy, Purger
from packshot.errors import PackshotError
from packshot.render.processes.pool import Lane, Renderer
from packshot.storage.base import ObjectStore
from packshot.storage.write_check import FOLDER, WriteCheck
from pregen.queue.check import find_problems
from serve.health.findings import Finding, Problem, Status
from serve.http.jwks import KeySet

# A disk is nearly full if less than the smaller of these is free.
LOW_BYTES, LOW_SHARE = 1 << 30, 0.05
# While no worker is live, due work that waits longer is a failure.
OVERDUE_SECONDS = 15.0
# A grey PNG of one pixel.
_PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636800000082008177cd72b60000000049454e44ae426082"
)


def check_database(catalog: Catalog) -> Finding:
    """Check that the database can be read and has the current schema."""
    is_current, kind = migrate.is_current(catalog), "sqlite" if catalog.is_sqlite else "postgresql"
    if is_current:
        return Finding("database", f"{kind}, current", is_hard=True)
    problem = Problem("not migrated", "run `packshot migrate`")
    return Finding("database", problems=(problem,), is_hard=True)


def check_database_writes(catalog: Catalog) -> Finding:
    """Check that the database accepts writes, by writing one row."""
    with catalog.write_system() as tx:
        check_write(tx, secrets.token_hex(16))
    return Finding("database_writes", "takes writes")


def check_reading(name: str, store: ObjectStore) -> Finding:
    """Check that a store answers."""
    # The object does not exist; every answer but an error proves that the store works.
    store.head(f"{FOLDER}/reading")
    return Finding(name, "answers", is_hard=True)


def check_writing(name: str, check: WriteCheck) -> Finding:
    """Check that a store keeps, returns and deletes an object."""
    check.run()
    return Finding(name, "keeps, returns and deletes objects")


def check_queue(broker: Broker) -> Finding:
    """Check that the queue carries messages, and that its server is configured to keep them."""
    detail, problems = find_problems(broker)
    return Finding(
        "queue",
        detail,
        tuple(
            Problem(found.reason, found.cure, Status.DEGRADED if found.works else Status.FAILING) for found in problems
        ),
    )


def check_workers(catalog: Catalog) -> Finding:
    """Check that a worker is live, by the leases that workers renew."""
    with catalog.read_system() as tx:
        state = read_worker_state(tx)
    waiting = (
        "nothing waits" if state.due_seconds is None else f"{state.due_kind} waits for {state.due_seconds:.0f} seconds"
    )
    if state.has_worker:
        return Finding("workers", f"live; {waiting}")
    cure = "start `packshot worker`, or `packshot serve` where PACKSHOT_REDIS_URL is not set"
    is_overdue = (state.due_seconds or 0.0) > OVERDUE_SECONDS
    status = Status.FAILING if is_overdue else Status.DEGRADED
    return Finding("workers", problems=(Problem(f"no live worker; {waiting}", cure, status),))


def check_space(name: str, folder: Path) -> Finding:
    """Check the free space of a folder's file system: bytes and inodes."""
    found = os.statvfs(folder)
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    detail = f"{free >> 20} of {total >> 20} MiB free"
    problems = []
    low = min(LOW_BYTES, LOW_SHARE * total)
    if free < low:
        status = Status.FAILING if free < low / 20 else Status.DEGRADED
        word = "full" if status is Status.FAILING else "nearly full"
        problems.append(Problem(f"{word}: {detail}", "delete files, or enlarge the disk", status))
    # Some file systems do not count inodes and report 0 of 0.
    if found.f_files and found.f_favail < LOW_SHARE * found.f_files:
        status = Status.DEGRADED if found.f_favail else Status.FAILING
        reason = f"room for {found.f_favail} more files (inodes)"
        problems.append(Problem(reason, "delete small files, or enlarge the file system", status))
    return Finding(name, detail, tuple(problems))


def check_temporary_space() -> Finding:
    """Check the free space of the folder for temporary files."""
    return check_space("temporary_folder", Path(tempfile.gettempdir()))


def check_cdn(purger: Purger) -> Finding:
    """Check that the CDN accepts purges."""
    try:
        return Finding("cdn", purger.check())
    except (OSError, PackshotError, ProviderBusy) as error:
        # The error's text says what to do, and may name hosts.
        return Finding("cdn", problems=(Problem("accepts no purges", str(error)),))


def check_rendering(renderer: Renderer) -> Finding:
    """Check that a render process draws an image of one pixel."""
    try:
        renderer.probe(_PIXEL, Lane.ON_DEMAND)
    except PackshotError as error:
        problem = Problem("render processes cannot draw", "read the log of this process", detail=str(error))
        return Finding("rendering", problems=(problem,))
    return Finding("rendering", "draws")


def check_keys(keys: KeySet) -> Finding:
    """Check that there are keys to verify JWTs, and that the key server answers."""
    age, cure = keys.age_seconds, "start the server that PACKSHOT_JWKS_URL names, or correct the address"
    if age is None:
        return Finding("keys", problems=(Problem("no keys to verify tokens", cure),))
    detail = f"fetched {age:.0f} seconds ago"
    if keys.is_failing:
        problem = Problem(f"the key server does not answer; the keys in use were {detail}", cure, Status.DEGRADED)
        return Finding("keys", detail, (problem,))
    return Finding("keys", detail)
