"""How jobs and packs are, for whoever follows them."""

from collections.abc import Sequence
from typing import Any

from packshot.catalog import jobs, packs
from packshot.site import Site


def read_subjects(site: Site, subjects: Sequence[tuple[str, str, str]]) -> dict[tuple[str, str, str], Any]:
    """Return how those jobs and packs are that there are, of any tenant, in two statements at most.

    Args:
        subjects: ("job" or "pack", tenant, id).

    Returns:
        of a job the job; of a pack what differs after every edit, and after its pictures were rendered.
    """
    wanted: dict[str, list[tuple[str, str]]] = {"job": [], "pack": []}
    for kind, tenant, id in subjects:
        wanted[kind].append((tenant, id))
    with site.catalog.read("") as tx:
        found = {("job", *place): job for place, job in jobs.get_jobs_anywhere(tx, wanted["job"]).items()}
        return found | {("pack", *place): state for place, state in packs.get_states(tx, wanted["pack"]).items()}
