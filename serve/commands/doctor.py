"""Check each part of an installation, and say how to repair what is wrong."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import jwt

from packshot.catalog.database import migrate
from packshot.catalog.database.transaction import Catalog, DatabaseFault
from packshot.durable_files import make_folder
from packshot.errors import PackshotError
from packshot.render.formats.sniffing import codecs
from packshot.render.limits import Limits
from packshot.render.processes.confine import EVERYTHING
from packshot.render.processes.pool import Renderer
from packshot.settings.settings import Settings
from packshot.site import open_purger, open_stores
from packshot.storage.base import ObjectStore
from packshot.storage.check import check_store
from pregen.queue.broker import make_broker
from serve.health import checks, secrecy
from serve.health.findings import Finding, Problem, Status, problem_of
from serve.health.upload_check import check_uploads
from serve.http.jwks import read_keys

# The time within which a store must answer.
STORE_SECONDS = 15.0


def examine(settings: Settings) -> Iterator[Finding]:
    """Check every part in sequence, even if others fail."""
    parts: dict[str, Callable[[], Iterator[Finding]]] = {
        "database": lambda: _database(settings),
        "secrets": lambda: _secrecy(settings),
        "stores": lambda: _stores(settings),
        "uploads": lambda: _uploads(settings),
        "queue": lambda: _queue(settings),
        "cdn": lambda: _cdn(settings),
        "keys": lambda: _keys(settings),
        "disk": lambda: _disk(settings),
        "codecs": _codecs,
        "rendering": lambda: _rendering(settings),
    }
    yield Finding("settings", "all fit")
    for caveat in settings.caveats:
        yield Finding("settings", caveat)
    for part, look in parts.items():
        try:
            yield from look()
        except Exception as error:  # noqa: BLE001 - any exception is the finding
            yield Finding(part, problems=(problem_of(error),))


def _secrecy(settings: Settings) -> Iterator[Finding]:
    yield secrecy.check_rights(settings)
    yield secrecy.check_owner(settings)
    yield secrecy.check_secrets(settings)


def _database(settings: Settings) -> Iterator[Finding]:
    with closing(Catalog(settings.effective_database_url)) as catalog:
        try:
            if not migrate.is_current(catalog) and catalog.is_sqlite:
                yield Finding("database", "sqlite, the next command migrates it")
                return
            found = checks.check_database(catalog)
            yield found
            if found.status is not Status.OK:
                return
        except DatabaseFault as fault:
            yield Finding("database", problems=(problem_of(fault),))
            return
        for name, check in (("database_writes", checks.check_database_writes), ("workers", checks.check_workers)):
            try:
                yield check(catalog)
            except DatabaseFault as fault:
                yield Finding(name, problems=(problem_of(fault),))


def _stores(settings: Settings) -> Iterator[Finding]:
    """Check all stores at once; stop waiting for those that have not answered by the deadline."""
    found: dict[str, tuple[Problem, ...]] = {}

    def check(name: str, store: ObjectStore) -> None:
        try:
            found[name] = tuple(Problem(*_divide(fault)) for fault in check_store(store))
        except Exception as error:  # noqa: BLE001 - any exception is the finding
            found[name] = (problem_of(error),)

    # Daemon threads: a silent store does not delay the end of the process.
    threads = {
        name: threading.Thread(target=check, args=(name, store), name=f"check of {name}", daemon=True)
        for name, store in open_stores(settings).items()
    }
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + STORE_SECONDS
    cure = "start it, or correct PACKSHOT_S3_ENDPOINT_URL"
    silent = Problem(f"does not answer within {STORE_SECONDS:g} seconds", cure)
    for name, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        yield Finding(f"store of {name}", "keeps and returns objects, never overwrites", found.get(name, (silent,)))


def _divide(sentence: str) -> tuple[str, str]:
    """Split a sentence at the colon into what is wrong and the cure."""
    reason, _, cure = sentence.rstrip(".").partition(": ")
    return reason, cure or "read the log of the store"


def _uploads(settings: Settings) -> Iterator[Finding]:
    yield check_uploads(settings)


def _queue(settings: Settings) -> Iterator[Finding]:
    with closing(make_broker(settings)) as broker:
        yield checks.check_queue(broker)


def _cdn(settings: Settings) -> Iterator[Finding]:
    yield checks.check_cdn(open_purger(settings))


def _keys(settings: Settings) -> Iterator[Finding]:
    if settings.jwks_url is None:
        return
    make_folder(settings.data / "incoming")
    try:
        yield Finding("keys", f"{len(read_keys(settings, settings.jwks_url))} keys to verify tokens")
    except (PackshotError, OSError, ValueError, jwt.PyJWTError) as error:
        cure = "start the server that PACKSHOT_JWKS_URL names, or correct the address"
        yield Finding("keys", problems=(Problem("the key server returns no keys", cure, detail=str(error)),))


def _disk(settings: Settings) -> Iterator[Finding]:
    yield checks.check_space("data_folder", settings.data)
    yield checks.check_temporary_space()


def _codecs() -> Iterator[Finding]:
    found = codecs()
    missing = [name for name, there in found.items() if not there]
    cure = f"install Pillow from its wheel; this build lacks {', '.join(missing)}"
    yield Finding("codecs", ", ".join(found), (Problem("some codecs are missing", cure),) if missing else ())


def _rendering(settings: Settings) -> Iterator[Finding]:
    processes, memory = settings.effective_render_processes, settings.effective_render_memory_bytes
    with Renderer(Limits(memory_bytes=memory), processes=1, folders=[settings.data / "originals"]) as renderer:
        confined = renderer.confinement()
    missing = [name for name in EVERYTHING if name not in confined]
    cure = "run a Linux kernel with Landlock and seccomp, and let the container's profile allow both; see SECURITY.md"
    reason = f"render processes are not confined by {', '.join(missing)}"
    yield Finding(
        "rendering",
        f"{processes} processes of at most {memory >> 20} MiB, confined by {', '.join(confined)}",
        (Problem(reason, cure, Status.DEGRADED),) if missing else (),
    )
