"""The states of jobs, packs and tokens, for subscriptions."""

from collections.abc import Sequence
from typing import Any

from packshot.catalog.clients import tokens
from packshot.catalog.packs import packs
from packshot.catalog.work import jobs
from packshot.site import Site


def read_subjects(site: Site, subjects: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], Any]:
    """Return the states of those jobs, packs and tokens that exist, of any tenant, in three statements at most.

    Args:
        subjects: ("job", "pack" or "token", tenant, id).

    Returns:
        For a job, the job. For a pack, a value that differs after every edit and after its variants were rendered.
        For a token, that it is not revoked.
    """
    by_kind: dict[str, list[tuple[str, str]]] = {"job": [], "pack": [], "token": []}
    for kind, tenant, id in subjects:
        by_kind[kind].append((tenant, id))
    with site.catalog.read_system() as tx:
        unrevoked = tokens.get_unrevoked(tx, by_kind["token"])
        found: dict[tuple[str, str, str], Any] = {("token", *place): True for place in unrevoked}
        found |= {("job", *place): job for place, job in jobs.get_jobs_anywhere(tx, by_kind["job"]).items()}
        return found | {("pack", *place): state for place, state in packs.get_states(tx, by_kind["pack"]).items()}
