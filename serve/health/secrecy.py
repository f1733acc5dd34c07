"""Checks of secrecy: access rights on the data folder, and the encryption of secrets in the database."""

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
    """Check that other users of this machine can neither read nor write the data folder."""
    found = list(list_exposed(settings))
    readers = (
        "its owner" if settings.variants_group is None else f"its owner and, of the variants, {settings.variants_group}"
    )
    more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    cure = f"give Packshot a folder of its own, and run `chmod -R go-rwx {settings.data.resolve()}`"
    problem = Problem("other users of this machine have access", cure, detail=", ".join(found[:_NAMED]) + more)
    return Finding("data_folder_rights", f"only {readers} may read it", (problem,) if found else ())


def check_owner(settings: Settings) -> Finding:
    """Check that all files belong to the user that runs Packshot. Earlier releases left files of root behind."""
    found, user = list(list_foreign(settings)), name_of(os.geteuid())
    more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    cure = f"run `chown -R {os.geteuid()}:{os.getegid()} {settings.data.resolve()}` as root"
    named = ", ".join(map(str, found[:_NAMED])) + more
    problem = Problem("some files do not belong to the user that runs Packshot", cure, detail=named)
    return Finding("data_folder_owner", f"all of it belongs to {user}", (problem,) if found else ())


def check_secrets(settings: Settings) -> Finding:
    """Try to decrypt every secret in the database."""
    with closing(Catalog(settings.effective_database_url)) as catalog:
        if not migrate.is_current(catalog):
            return Finding("secrets", "not checked: the database is not migrated")
        with catalog.read_system() as tx:
            is_any_plain = webhooks.is_any_plain(tx)
            sealed = [(Purpose.WEBHOOK, *one) for one in webhooks.list_sealed(tx)]
            sealed += [(Purpose.ACCESS_KEY, *one) for one in access_keys.list_sealed(tx)]
    lost = [purpose for purpose, place, text in sealed if unseal(settings, purpose, place, text) is None]
    return Finding("secrets", f"{len(sealed)} in the database, encrypted", tuple(_problems(lost, is_any_plain)))


def _problems(lost: list[Purpose], is_any_plain: bool) -> Iterator[Problem]:
    if lost:
        keys, hooks = lost.count(Purpose.ACCESS_KEY), lost.count(Purpose.WEBHOOK)
        cure = (
            "set PACKSHOT_ACCESS_SECRET, or the admin token if that is not set, to its former value; "
            "or create the keys and secrets again"
        )
        yield Problem(f"{keys} access keys and {hooks} webhook secrets cannot be decrypted", cure)
    if is_any_plain:
        cure = "restart the server, or run `packshot migrate`"
        yield Problem("webhook secrets of an earlier release are in plain text", cure, Status.DEGRADED)
