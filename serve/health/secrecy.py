"""Whether what is secret is kept: the rights on the data folder, and secrets that the database keeps encrypted."""

import os
from collections.abc import Iterator
from contextlib import closing

from packshot.catalog.clients import access_keys, webhooks
from packshot.catalog.database import migrate
from packshot.catalog.database.transaction import Catalog
from packshot.security.sealing import Purpose, unseal
from packshot.settings.data_folder import list_exposed
from packshot.settings.data_owner import list_foreign, name_of
from packshot.settings.settings import Settings
from serve.health.findings import Finding, Problem, Status

_NAMED = 3


def check_rights(settings: Settings) -> Finding:
    """Look for what other users of this machine may read or write."""
    found = list(list_exposed(settings))
    readers = (
        "its owner" if settings.variants_group is None else f"its owner and, of the variants, {settings.variants_group}"
    )
    more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    cure = f"give Packshot a folder of its own, and run `chmod -R go-rwx {settings.data.resolve()}`"
    problem = Problem("others on this machine may get at it", cure, detail=", ".join(found[:_NAMED]) + more)
    return Finding("data_folder_rights", f"only {readers} may read it", (problem,) if found else ())


def check_owner(settings: Settings) -> Finding:
    """Look for files that belong to another user, which a command of an earlier release left when root ran it."""
    found, user = list(list_foreign(settings)), name_of(os.geteuid())
    more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    cure = f"run `chown -R {os.geteuid()}:{os.getegid()} {settings.data.resolve()}` as root"
    named = ", ".join(map(str, found[:_NAMED])) + more
    problem = Problem("files in it belong to another user than runs Packshot", cure, detail=named)
    return Finding("data_folder_owner", f"all of it belongs to {user}", (problem,) if found else ())


def check_secrets(settings: Settings) -> Finding:
    """Try to decrypt every secret that the database keeps."""
    with closing(Catalog(settings.effective_database_url)) as catalog:
        if not migrate.is_current(catalog):
            return Finding("secrets", "not looked at before the database is current")
        with catalog.read_system() as tx:
            is_any_plain = webhooks.is_any_plain(tx)
            sealed = [(Purpose.WEBHOOK, *one) for one in webhooks.list_sealed(tx)]
            sealed += [(Purpose.ACCESS_KEY, *one) for one in access_keys.list_sealed(tx)]
    lost = [purpose for purpose, place, text in sealed if unseal(settings, purpose, place, text) is None]
    return Finding("secrets", f"{len(sealed)} in the database, encrypted", tuple(_problems(lost, is_any_plain)))


def _problems(lost: list[Purpose], is_any_plain: bool) -> Iterator[Problem]:
    if lost:
        keys, hooks = lost.count(Purpose.ACCESS_KEY), lost.count(Purpose.WEBHOOK)
        cure = "set PACKSHOT_ACCESS_SECRET, or else the admin token, to what it was, or make them again"
        yield Problem(f"{keys} access keys and {hooks} webhook secrets cannot be decrypted", cure)
    if is_any_plain:
        cure = "restart the server or run `packshot migrate`"
        yield Problem("webhook secrets of an earlier release are in plain text", cure, Status.DEGRADED)
