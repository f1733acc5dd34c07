"""How jobs, packs and tokens are, for whoever follows them."""

from collections.abc import Sequence
from typing import Any

from packshot.catalog.clients import tokens
from packshot.catalog.packs import packs
from packshot.catalog.work import jobs
from packshot.site import Site


def read_subjects(site: Site, subjects: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], Any]:
    """Return how those jobs, packs and tokens are that there are, of any tenant, in three statements at most.

    Args:
        subjects: ("job", "pack" or "token", tenant, id).

    Returns:
        of a job the job; of a pack what differs after every edit, and after its pictures were rendered;
        of a token that it is not revoked.
    """
    wanted: dict[str, list[tuple[str, str]]] = {"job": [], "pack": [], "token": []}
    for kind, tenant, id in subjects:
        wanted[kind].append((tenant, id))
    with site.catalog.read_system() as tx:
        unrevoked = tokens.get_unrevoked(tx, wanted["token"])
        found: dict[tuple[str, str, str], Any] = {("token", *place): True for place in unrevoked}
        found |= {("job", *place): job for place, job in jobs.get_jobs_anywhere(tx, wanted["job"]).items()}
        return found | {("pack", *place): state for place, state in packs.get_states(tx, wanted["pack"]).items()}
