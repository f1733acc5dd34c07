"""Examining each part of an installation, and saying how to mend what is wrong."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from packshot.catalog import migrate
from packshot.catalog.transaction import Catalog, DatabaseFault
from packshot.render.formats import codecs
from packshot.settings import Settings
from packshot.site import open_purger, open_stores
from packshot.storage.check import check_store
from pregen.queue import is_reachable, make_broker


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one part; `fault` says what is wrong and how to mend it."""

    part: str
    detail: str
    fault: str | None = None


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at every part in turn, whatever is wrong with another."""
    parts: dict[str, Callable[[], Iterator[Finding]]] = {
        "database": lambda: _database(settings),
        "stores": lambda: _stores(settings),
        "queue": lambda: _queue(settings),
        "cdn": lambda: _cdn(settings),
        "codecs": _codecs,
    }
    yield Finding("settings", "all fit")
    for part, look in parts.items():
        try:
            yield from look()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the finding
            yield Finding(part, "", f"{type(error).__name__}: {error}")


def _database(settings: Settings) -> Iterator[Finding]:
    catalog = Catalog(settings.effective_database_url)
    try:
        current = migrate.is_current(catalog)
    except DatabaseFault as fault:
        mend = "start it, or correct PACKSHOT_DATABASE_URL"
        yield Finding("database", "", f"does not answer: {mend} ({str(fault.orig).strip()})")
        return
    finally:
        catalog.close()
    if catalog.is_sqlite:
        yield Finding("database", "sqlite, current" if current else "sqlite, made current by the next command")
    else:
        yield Finding("database", "postgresql, current", None if current else "run `packshot migrate`")
    for caveat in settings.caveats:
        yield Finding("settings", caveat)


def _stores(settings: Settings) -> Iterator[Finding]:
    for name, store in open_stores(settings).items():
        try:
            fault = " ".join(check_store(store)) or None
        except OSError as error:
            fault = f"The store is away: {error}."
        yield Finding(f"store of {name}", "keeps, gives back, never overwrites", fault)


def _queue(settings: Settings) -> Iterator[Finding]:
    if settings.redis_url is None:
        yield Finding("queue", "in memory: `packshot serve` runs the jobs")
        return
    broker = make_broker(settings)
    try:
        is_reachable(broker)
    except Exception as error:  # noqa: BLE001 - whatever it is out by, the way to mend it is the same
        mend = "start it, or correct PACKSHOT_REDIS_URL"
        yield Finding("queue", "", f"Redis does not answer: {mend} ({type(error).__name__})")
        return
    finally:
        broker.close()
    yield Finding("queue", "Redis answers")


def _cdn(settings: Settings) -> Iterator[Finding]:
    yield Finding("cdn", open_purger(settings).check())


def _codecs() -> Iterator[Finding]:
    found = codecs()
    missing = [name for name, there in found.items() if not there]
    fault = f"Pillow was built without {', '.join(missing)}: install its wheel" if missing else None
    yield Finding("codecs", ", ".join(found), fault)
