"""Create packs together with their originals, one or many at a time."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from packshot.catalog.configuration.snapshots import read_snapshot
from packshot.catalog.database.transaction import Tx
from packshot.catalog.packs import packs
from packshot.catalog.work import jobs, url_imports
from packshot.catalog.work.jobs import Job, JobKind
from packshot.catalog.work.orders import Priority
from packshot.errors import Invalid, Limit, PackshotError, Taken, dump_error, load_error
from packshot.geometry import Crop
from packshot.model import Focus, Original, Snapshot
from resolvers.caller import Answer, Caller
from resolvers.orders import order_packs, ring_doorbell, single_pack_id
from resolvers.originals import Source, take_original
from resolvers.packs import SHOWN_BY, PackLocationPatch, pack_location_values

MAX_PACKS = 100


class OnExisting(StrEnum):
    """What happens to a pack that exists already, with the same asset id or external id."""

    FAIL = "fail"
    SKIP = "skip"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class NewOriginal:
    """One original of a new pack. Crop and focus are None if not given."""

    location: str
    source: Source
    crop: Crop | None = None
    focus: Focus | None = None


@dataclass(frozen=True, slots=True)
class NewPack:
    """One pack to create. The values are those of `packshot.catalog.packs.packs.create_pack`.

    Attributes:
        overrides: values of pack locations, with or without an original; see `resolvers.packs.PackLocationPatch`.
        id: id of a pack that is migrated from another service; None: a new id.
        live: whether the originals came through live resize, or are migrated from such a service.
    """

    values: Mapping[str, Any]
    originals: Sequence[NewOriginal] = ()
    overrides: Sequence[PackLocationPatch] = ()
    id: str | None = None
    live: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one input: a pack and its job, or a refusal.

    Attributes:
        job: fetches originals from URLs, or else renders the uploaded ones; None: nothing to do.
    """

    pack_id: str | None = None
    job_id: str | None = None
    error: PackshotError | None = None


@dataclass(frozen=True, slots=True)
class _Placed:
    pack_id: str
    urls: Mapping[str, str]
    changed: bool


def create_pack(caller: Caller, new: NewPack) -> tuple[Snapshot, Job | None]:
    """Create a pack and set its originals, or change nothing. A job fetches the originals that come from URLs.

    Raises:
        PackshotError: see `packs.create_pack` and `originals.set_original`.
    """
    taken = _take_originals(caller, new)
    with caller.write() as tx:
        placed = _place(caller, tx, new, taken, OnExisting.FAIL)
        job_ids = _order(caller, tx, [placed], Priority.INTERACTIVE)
        snapshot, job = read_snapshot(tx, placed.pack_id), None
        if job_ids:
            job = jobs.get_job(tx, job_ids[placed.pack_id])
        caller.record(tx, Answer(pack=placed.pack_id, job=job))
    if job is not None:
        ring_doorbell(caller, [placed.pack_id])
        caller.doorbell.wake()
    return snapshot, job


def create_packs(
    caller: Caller, inputs: Sequence[NewPack], on_existing: OnExisting
) -> tuple[list[Outcome], Job | None]:
    """Create up to 100 packs, each independent of the others: a refused input does not affect the rest.

    Returns:
        The result of each input, and the job that fetches originals, or renders if there is nothing to fetch.

    Raises:
        Limit: no input, or more than 100.
    """
    if not 1 <= len(inputs) <= MAX_PACKS:
        raise Limit(
            "Too many packs, or none.",
            field=("inputs",),
            expected=f"1 to {MAX_PACKS}",
            got=len(inputs),
        )
    found = [_try_to_take(caller, new) for new in inputs]
    outcomes: list[Outcome] = []
    with caller.write() as tx:
        done: list[_Placed] = []
        for new, taken in zip(inputs, found, strict=True):
            placed = taken if isinstance(taken, PackshotError) else _try_to_place(caller, tx, new, taken, on_existing)
            if isinstance(placed, PackshotError):
                outcomes.append(Outcome(error=placed))
            else:
                done.append(placed)
                outcomes.append(Outcome(placed.pack_id))
        job_ids = _order(caller, tx, done, Priority.BULK)
        outcomes = [replace(outcome, job_id=job_ids.get(outcome.pack_id or "")) for outcome in outcomes]
        started = sorted(jobs.get_jobs(tx, list(set(job_ids.values()))).values(), key=lambda job: job.kind)
        job = started[0] if started else None  # `import` comes before `regenerate`.
        caller.record(tx, Answer(outcomes=dump_outcomes(outcomes), job=job))
    caller.doorbell.wake()
    return outcomes, job


def dump_outcomes(outcomes: Sequence[Outcome]) -> str:
    """Serialize outcomes, so that a repeated call gets the same response."""
    return json.dumps(
        [
            (outcome.pack_id, outcome.job_id, None if outcome.error is None else dump_error(outcome.error))
            for outcome in outcomes
        ]
    )


def load_outcomes(text: str) -> list[Outcome]:
    """Read the output of `dump_outcomes`."""
    return [
        Outcome(pack_id, job_id, None if error is None else load_error(error))
        for pack_id, job_id, error in json.loads(text)
    ]


def _take_originals(caller: Caller, new: NewPack) -> dict[str, Original]:
    """Check the uploads of a new pack and store their bytes. Return the originals by location."""
    taken = {}
    seen: set[str] = set()
    for index, original in enumerate(new.originals):
        try:
            if original.location in seen:
                raise Invalid(
                    "A location has one original.",
                    field=("location",),
                    expected="each location once",
                    got=original.location,
                )
            seen.add(original.location)
            _columns(original)
            if original.source.url is None:
                taken[original.location] = take_original(caller, original.source)
        except PackshotError as error:
            raise error.at("originals", str(index)) from None
    return taken


def _columns(original: NewOriginal) -> dict[str, Any]:
    said = {"crop": original.crop, "focus": original.focus}
    return pack_location_values({name: value for name, value in said.items() if value is not None})


def _try_to_take(caller: Caller, new: NewPack) -> dict[str, Original] | PackshotError:
    try:
        return _take_originals(caller, new)
    except PackshotError as error:
        return error


def _try_to_place(
    caller: Caller, tx: Tx, new: NewPack, taken: Mapping[str, Original], on_existing: OnExisting
) -> _Placed | PackshotError:
    try:
        # A refusal rolls back this input alone.
        with tx.part():
            return _place(caller, tx, new, taken, on_existing)
    except PackshotError as error:
        return error


def _place(caller: Caller, tx: Tx, new: NewPack, taken: Mapping[str, Original], on_existing: OnExisting) -> _Placed:
    changed = bool(taken)
    try:
        with tx.part():
            pack_id = packs.create_pack(tx, new.values, id=new.id)
    except Taken as error:
        # A given id identifies the pack. Another pack with the same asset id does not count.
        if on_existing is OnExisting.FAIL or new.id not in (None, error.existing_id):
            raise
        pack_id = error.existing_id
        if on_existing is OnExisting.SKIP:
            return _Placed(pack_id, {}, changed=False)
        packs.update_pack(tx, pack_id, new.values, cause=f"createPacks by {caller.subject}")
        changed = changed or bool(new.values.keys() & SHOWN_BY or new.overrides) or any(map(_columns, new.originals))
    urls = {}
    for index, original in enumerate(new.originals):
        columns = _columns(original)
        if (taken_original := taken.get(original.location)) is not None:
            url_imports.cancel_import(tx, pack_id, original.location)
            packs.keep_original(tx, pack_id, taken_original, live=new.live)
            columns |= {"original_sha256": taken_original.sha256, "original_at": tx.now}
        elif original.source.url is not None:
            urls[original.location] = original.source.url
        try:
            packs.set_pack_location(tx, pack_id, original.location, columns)
        except PackshotError as error:
            raise error.at("originals", str(index)) from None
    for index, patch in enumerate(new.overrides):
        try:
            packs.set_pack_location(tx, pack_id, patch.location, pack_location_values(patch.values))
        except PackshotError as error:
            raise error.at(*(patch.at or ("overrides", str(index)))) from None
    return _Placed(pack_id, urls, changed)


def _order(caller: Caller, tx: Tx, done: Sequence[_Placed], priority: Priority) -> dict[str, str]:
    """Order the work of the packs, and return the job of each: the fetching one if there are two."""
    job_ids: dict[str, str] = {}
    if changed := list(dict.fromkeys(placed.pack_id for placed in done if placed.changed)):
        job = order_packs(tx, caller.site, changed, by=caller.subject, priority=priority)
        job_ids |= dict.fromkeys(changed, job.id)
    urls = {(placed.pack_id, location): url for placed in done for location, url in placed.urls.items()}
    if urls:
        job = jobs.create_job(
            tx, JobKind.IMPORT, priority, pack_id=single_pack_id(id for id, _ in urls), by=caller.subject
        )
        url_imports.order_imports(tx, job, urls)
        job_ids |= dict.fromkeys((pack_id for pack_id, _ in urls), job.id)
    return job_ids
