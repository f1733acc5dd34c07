"""Examining each part of an installation, and saying what to do about what is wrong."""

from collections.abc import Callable, Iterator
from contextlib import closing

import jwt

from packshot.catalog import migrate
from packshot.catalog.transaction import Catalog, DatabaseFault
from packshot.errors import PackshotError
from packshot.render.confine import EVERYTHING
from packshot.render.formats import codecs
from packshot.render.limits import Limits
from packshot.render.pool import Renderer
from packshot.settings import Settings
from packshot.site import open_purger, open_stores
from packshot.storage.check import check_store
from packshot.storage.durable import make_folder
from pregen.queue import make_broker
from serve import checks, secrecy
from serve.findings import Finding, Problem, Status, problem_of
from serve.jwks import read_keys


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at every part in turn, whatever is wrong with another."""
    parts: dict[str, Callable[[], Iterator[Finding]]] = {
        "database": lambda: _database(settings),
        "secrets": lambda: _secrecy(settings),
        "stores": lambda: _stores(settings),
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
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            yield Finding(part, problems=(problem_of(error),))


def _secrecy(settings: Settings) -> Iterator[Finding]:
    yield secrecy.check_rights(settings)
    yield secrecy.check_owner(settings)
    yield secrecy.check_secrets(settings)


def _database(settings: Settings) -> Iterator[Finding]:
    with closing(Catalog(settings.effective_database_url)) as catalog:
        try:
            if not migrate.is_current(catalog) and catalog.is_sqlite:
                yield Finding("database", "sqlite, made current by the next command")
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
    for name, store in open_stores(settings).items():
        try:
            problems = tuple(Problem(*_divide(fault)) for fault in check_store(store))
        except OSError as error:
            problems = (problem_of(error),)
        yield Finding(f"store of {name}", "keeps, gives back, never overwrites", problems)


def _divide(sentence: str) -> tuple[str, str]:
    """Return a sentence's fault and its cure, which follows a colon."""
    reason, _, cure = sentence.rstrip(".").partition(": ")
    return reason, cure or "look into the log of the store"


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
        yield Finding("keys", f"{len(read_keys(settings, settings.jwks_url))} to verify tokens with")
    except (PackshotError, OSError, ValueError, jwt.PyJWTError) as error:
        cure = "start the server that PACKSHOT_JWKS_URL names, or correct the address"
        yield Finding("keys", problems=(Problem("the key server gives no keys", cure, detail=str(error)),))


def _disk(settings: Settings) -> Iterator[Finding]:
    yield checks.check_space("data_folder", settings.data)
    yield checks.check_temporary_space()


def _codecs() -> Iterator[Finding]:
    found = codecs()
    missing = [name for name, there in found.items() if not there]
    cure = f"install the wheel of Pillow; this one was built without {', '.join(missing)}"
    yield Finding("codecs", ", ".join(found), (Problem("some are missing", cure),) if missing else ())


def _rendering(settings: Settings) -> Iterator[Finding]:
    processes, memory = settings.effective_render_processes, settings.effective_render_memory_bytes
    with Renderer(Limits(memory_bytes=memory), processes=1, folders=[settings.data / "originals"]) as renderer:
        confined = renderer.confinement()
    missing = [name for name in EVERYTHING if name not in confined]
    cure = "run a Linux kernel with Landlock and seccomp, and let the container's filter allow them; see SECURITY.md"
    reason = f"render processes are not confined by {', '.join(missing)}"
    yield Finding(
        "rendering",
        f"{processes} processes of at most {memory >> 20} MiB, confined by {', '.join(confined)}",
        (Problem(reason, cure, Status.DEGRADED),) if missing else (),
    )
