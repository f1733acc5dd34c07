"""Taking over the image service: its locations, and packs by their ids or those of their assets."""

import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from packshot.catalog import locations as location_rows
from packshot.catalog import tombstones
from packshot.errors import Forbidden, ForceRequired, NotFound, PackshotError
from packshot.model import PACK_ID, Location, Snapshot
from packshot.originals import digest_file
from packshot.variants.change import Change
from resolvers import changes, locations, packs
from resolvers.caller import Caller
from resolvers.changes import Activation, Consent
from resolvers.imports import NewOriginal, NewPack
from resolvers.moving.old_files import find_file
from resolvers.moving.report import Report, portions, side_by_side
from resolvers.moving.vimond_documents import (
    OldLocation,
    OldPack,
    in_order,
    map_names,
    map_pack_id,
    read_location,
    read_pack,
)
from resolvers.moving.vimond_service import Away, VimondService
from resolvers.moving.writing import Arrival, foresee, is_same, write
from resolvers.originals import Source
from resolvers.packs import SlotPatch

PACKS_AT_ONCE = 20
# So many packs one after the other that it does not answer for, and it is taken to be away.
MOST_SILENT = 5
# Of a picture that was changed there so shortly before it was taken, nobody can tell which one it was.
MARGIN = timedelta(hours=1)
NEWER_HERE = "NEWER_HERE"


@dataclass(frozen=True, slots=True)
class Named:
    """A pack to be taken.

    Attributes:
        id: its own, or that of its asset.
        of_asset: whose id it is.
        may_lack: an asset that has no pack is nothing to tell of.
    """

    id: str
    of_asset: bool = False
    may_lack: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """How the image service is taken over.

    Attributes:
        originals: a copy of its bucket, `<pack>/<location>`; None: pictures come by client URLs.
        width: how wide those are asked for, in pixels.
        force: what was changed here later, or alters pictures that packs show, is taken over all the same.
    """

    originals: Path | None = None
    width: int = 4096
    force: bool = False
    dry_run: bool = False
    threads: int = 4


@dataclass(frozen=True, slots=True)
class Places:
    """The old service's locations.

    Attributes:
        names: what each is called here, by its old name.
        fallbacks: by old names.
        known: the locations here, those that a dry run would make among them.
    """

    names: Mapping[str, str]
    fallbacks: Mapping[str, str]
    known: Mapping[str, Location]

    def here(self, old: str) -> str | None:
        """Return the name here of a location; None: it was not taken."""
        name = self.names.get(old)
        return name if name in self.known else None

    def chain(self, old: str) -> list[str]:
        """Return the old names of those that a location falls back to, in order."""
        chain: list[str] = []
        while (following := self.fallbacks.get(chain[-1] if chain else old)) is not None:
            chain.append(following)
        return chain


def plain_id(text: str) -> str:
    """Return a pack's id without the cache buster that URLs append; ids of another kind are left as they are.

    >>> plain_id("62e89a0ce4b0003c6f22b5a3-1662654467834")
    '62e89a0ce4b0003c6f22b5a3'
    """
    before = text.partition("-")[0]
    return before if PACK_ID.fullmatch(before) else text


def move_locations(caller: Caller, service: VimondService, options: Options, report: Report) -> Places:
    """Take over the location configs, those that others fall back to first.

    Raises:
        Away, Forbidden, Invalid: the old service does not give them.
    """
    found: dict[str, OldLocation] = {}
    for index, document in enumerate(service.locations()):
        try:
            old = read_location(document)
        except PackshotError as error:
            name = document.get("name") if isinstance(document, dict) else None
            report.left("location", str(name or f"number {index + 1}"), error)
        else:
            found[old.name] = old
    names = map_names(found)
    for old_name, name in names.items():
        if name != old_name:
            report.mapped("location", old_name, name, "Clients have to ask for it by its name here.")
    with caller.site.catalog.read(caller.tenant) as tx:
        known = location_rows.get_locations(tx)
    ordered = in_order(found, report)
    created: dict[str, Mapping[str, Any]] = {}
    for old in ordered:
        fallback = old.values["fallback"]
        values = {**old.values, "fallback": None if fallback is None else names[fallback]}
        try:
            _move_location(caller, names[old.name], replace(old, values=values), known, created, options, report)
        except ForceRequired as error:
            fields = ", ".join(change.field for change in error.plan.changes if change.requires_force)
            why = f"Packs here show pictures at it that another {fields} would alter; --force changes it at once."
            report.left("location", old.name, why, error.code.value)
        except PackshotError as error:
            report.left("location", old.name, error)
    fallbacks = {old.name: old.values["fallback"] for old in ordered if old.values["fallback"] is not None}
    return Places(names, fallbacks, known)


def _move_location(
    caller: Caller,
    name: str,
    old: OldLocation,
    known: dict[str, Location],
    created: dict[str, Mapping[str, Any]],
    options: Options,
    report: Report,
) -> None:
    """Make or change one location here, and note in `known` how it is then."""
    here = known.get(name)
    if here is not None:
        differing = [field for field, value in old.values.items() if getattr(here, field) != value]
        if not differing:
            report.counts["locationsUnchanged"] += 1
            return
        # Every tenant is born with `main`; that says nothing about what somebody wants.
        is_born = name == "main" and here.version == 1
        if not is_born and not options.force and old.updated is not None and old.updated <= here.updated_at:
            why = f"It is another one here, in {', '.join(differing)}, changed later than there; --force takes it over."
            report.left("location", old.name, why, NEWER_HERE)
            return
    if options.dry_run:
        known[name] = _foresee_location(caller, name, old, known, created, options)
    else:
        consent = Consent(force=options.force, activation=Activation.IMMEDIATE)
        changed = locations.put_location(caller, name, old.values, consent)
        known[name] = changed.location
        if changed.job is not None:
            report.jobs[changed.job.id] += 1
    report.counts["locationsCreated" if here is None else "locationsChanged"] += 1


def _foresee_location(
    caller: Caller,
    name: str,
    old: OldLocation,
    known: Mapping[str, Location],
    created: dict[str, Mapping[str, Any]],
    options: Options,
) -> Location:
    """Return what a location would be here, or raise what it would be refused with."""
    fields = location_rows.read_changes(known, name, old.values, limit=caller.site.limit)
    here = known.get(name)
    if here is None:
        created[name] = fields
        now = datetime.now(UTC)
        return Location(name=name, version=0, revision=0, added_at=now, updated_at=now, **fields)
    with caller.site.catalog.read(caller.tenant) as tx:
        plan = changes.foresee(caller, tx, Change(locations={**created, name: fields}), name)
    if plan is not None and plan.requires_force and not options.force:
        raise ForceRequired("This change alters pictures that are shown.", expected="--force", plan=plan)
    return replace(here, **fields)


def move_packs(
    caller: Caller,
    service: VimondService,
    places: Places,
    named: Iterator[Named],
    options: Options,
    report: Report,
    *,
    folder: Path,
    seen: Callable[[Report, int], None],
) -> None:
    """Take over packs, some of them at once; one that is here already is compared and not written again.

    Args:
        folder: for pictures that are being received; what is in it afterwards is nobody's.
        seen: called after each portion, with what it reports and how many were named in it.

    Raises:
        Forbidden: the old service does not let us in.
        Away: it does not answer any more.
        OSError: a store or the folder of originals is away.
    """
    move = _PackMove(caller, service, places, options, folder)
    side_by_side(move.take, portions(named, PACKS_AT_ONCE), report, threads=options.threads, seen=seen)


class _PackMove:
    """Takes portions of packs; called from several threads."""

    def __init__(self, caller: Caller, service: VimondService, places: Places, options: Options, folder: Path) -> None:
        self._caller = caller
        self._service = service
        self._places = places
        self._options = options
        self._folder = folder
        self._silent = 0
        self._lock = threading.Lock()

    def take(self, named: Sequence[Named]) -> Report:
        report, found = Report(), dict[str, OldPack]()
        for one in named:
            old = self._ask(one, report)
            if old is not None:
                found[map_pack_id(old.id)] = old
        snapshots = packs.load_snapshots(self._caller, list(found))
        with self._caller.site.catalog.read(self._caller.tenant) as tx:
            erased = tombstones.find_erased(tx, list(found))
        folder = self._folder / secrets.token_hex(8)
        folder.mkdir()
        try:
            arrivals = []
            for pack_id, old in found.items():
                if pack_id in erased:
                    report.left("pack", old.id, "It was erased here, and does not come back.", "ERASED")
                    continue
                arrivals.append(self._compare(pack_id, old, snapshots.get(pack_id), folder, report))
            if self._options.dry_run:
                foresee(arrivals, report)
            else:
                write(self._caller, arrivals, report)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if self._options.originals is None:
            report.counts["originalsRendered"] = report.counts["originalsTaken"]
        return report

    def _ask(self, one: Named, report: Report) -> OldPack | None:
        what = "asset" if one.of_asset else "pack"
        try:
            old = read_pack(self._service.pack_of_asset(one.id) if one.of_asset else self._service.pack(one.id))
        except Away as error:
            self._count_silence()
            report.left(what, one.id, f"The old service is away: {error}.", "AWAY")
            return None
        except Forbidden:
            raise
        except NotFound as error:
            if one.may_lack:
                report.counts["assetsWithoutPack"] += 1
            else:
                report.left(what, one.id, error)
            return None
        except PackshotError as error:
            report.left(what, one.id, error)
            return None
        self._silent = 0
        return old

    def _count_silence(self) -> None:
        with self._lock:
            self._silent += 1
            if self._silent >= MOST_SILENT:
                raise Away(f"it gave no answer for {MOST_SILENT} packs in a row")

    def _compare(self, pack_id: str, old: OldPack, here: Snapshot | None, folder: Path, report: Report) -> Arrival:
        """Return what is to be written of one pack; nothing of one that is as it should be."""
        for location, fault in old.faults:
            report.left("pack" if location is None else "pack location", _place(old, location), fault)
        keeps_ours = here is not None and not self._options.force and not _is_later(old, here)
        values, overrides = self._differing(pack_id, old, here, report)
        if keeps_ours and (values or overrides):
            fields = ", ".join([*values, *(f"{patch.location} {' '.join(patch.values)}" for patch in overrides)])
            why = f"It is another one here, in {fields}, changed later than there; --force takes it over."
            report.left("pack", old.id, why, NEWER_HERE)
            values, overrides = {}, []
        if self._options.originals is not None:
            originals = self._from_files(self._options.originals, old, here, report, keeps_ours=keeps_ours)
        else:
            originals = self._from_service(old, here, folder, report, keeps_ours=keeps_ours)
        return Arrival(old.id, NewPack(values, originals, overrides, pack_id), exists=here is not None)

    def _differing(
        self, pack_id: str, old: OldPack, here: Snapshot | None, report: Report
    ) -> tuple[dict[str, Any], list[SlotPatch]]:
        values = dict(old.values)
        if pack_id != old.id:
            values["external_id"] = old.id
            report.mapped("pack", old.id, pack_id, "Its old id is its external id here; URLs need the new one.")
        main = old.main_location
        values["main_location"] = None if main is None else self._here(old, main, "main location", report)
        wanted = []
        for location, fields in old.overrides.items():
            name = self._here(old, location, "pack location", report)
            if name is not None:
                wanted.append(SlotPatch(name, fields))
        if here is None:
            return values, [patch for patch in wanted if _says_something(patch.values)]
        differing = {field: value for field, value in values.items() if getattr(here.pack, field) != value}
        patches = [_patch_where_different(patch, here) for patch in wanted]
        return differing, [patch for patch in patches if patch.values]

    def _here(self, old: OldPack, location: str, what: str, report: Report) -> str | None:
        name = self._places.here(location)
        if name is None:
            report.left(what, _place(old, location), f"There is no location {location!r} here.", "NOT_FOUND")
        return name

    def _from_files(
        self, folder: Path, old: OldPack, here: Snapshot | None, report: Report, *, keeps_ours: bool
    ) -> list[NewOriginal]:
        """Return those originals among the files of the old bucket that are not here yet."""
        originals = []
        for location, name in self._own(old):
            path = find_file(folder, old.id, location)
            if path is None:
                report.left("original", _place(old, location), "There is no file of it in the folder.", "NOT_FOUND")
                continue
            if not os.access(path, os.R_OK):
                report.left("original", _place(old, location), f"The file {path} cannot be read.", "UNREADABLE")
                continue
            kept = None if here is None else here.slot(name).original
            if is_same(path, kept, here, name):
                continue
            if kept is not None and keeps_ours:
                self._keep_ours(old, location, report)
                continue
            originals.append(NewOriginal(name, Source(received=path)))
        return originals

    def _from_service(
        self, old: OldPack, here: Snapshot | None, folder: Path, report: Report, *, keeps_ours: bool
    ) -> list[NewOriginal]:
        """Receive the pictures that are not here yet; one that a fallback shows is not the location's own."""
        originals = []
        digests: dict[str, str] = {}
        main = old.main_location or "main"
        for location, name in sorted(
            self._own(old), key=lambda own: (own[0] != main, len(self._places.chain(own[0])), own[0])
        ):
            slot = None if here is None else here.slot(name)
            kept = None if slot is None else slot.original
            if kept is not None and slot is not None and not self._may_have_changed(old, slot.original_at):
                digests[location] = kept.sha256
                continue
            if self._options.dry_run and here is None:
                # Whether it is a fallback's, only its bytes could tell: at most so many are taken.
                originals.append(NewOriginal(name, Source()))
                continue
            path = folder / secrets.token_hex(8)
            if not self._receive(old, location, path, report):
                continue
            digest = digest_file(path)
            shown_by = next((one for one in [*self._places.chain(location), main] if one in digests), None)
            if shown_by is not None and digests[shown_by] == digest and kept is None:
                report.counts["shownByFallback"] += 1
                path.unlink()
                continue
            digests[location] = digest
            if kept is not None and kept.sha256 == digest:
                continue
            if kept is not None and keeps_ours:
                self._keep_ours(old, location, report)
                continue
            originals.append(NewOriginal(name, Source(received=path)))
        return originals

    def _own(self, old: OldPack) -> list[tuple[str, str]]:
        """Return the locations at which the pack may have an original, by old name and by name here."""
        # A pack that names none may still show something at its main location.
        named = list(old.overrides) or [old.main_location or "main"]
        found = ((location, self._places.here(location)) for location in named)
        return [(location, name) for location, name in found if name is not None]

    def _may_have_changed(self, old: OldPack, taken_at: datetime | None) -> bool:
        if self._options.force or taken_at is None:
            return True
        return old.modified is not None and old.modified + MARGIN > taken_at

    def _keep_ours(self, old: OldPack, location: str, report: Report) -> None:
        why = "Another original is here, and the pack was changed later than there; --force replaces it."
        report.left("original", _place(old, location), why, NEWER_HERE)

    def _receive(self, old: OldPack, location: str, path: Path, report: Report) -> bool:
        largest = self._caller.site.settings.max_upload_bytes
        try:
            self._service.picture(old.id, location, path, width=self._options.width, max_bytes=largest)
        except Away as error:
            report.left("original", _place(old, location), f"The old service is away: {error}.", "AWAY")
        except PackshotError as error:
            if isinstance(error, NotFound) and not old.overrides:
                report.counts["packsWithoutPicture"] += 1
            else:
                report.left("original", _place(old, location), error)
        else:
            return True
        return False


def _place(old: OldPack, location: str | None) -> str:
    return old.id if location is None else f"{old.id}/{location}"


def _is_later(old: OldPack, here: Snapshot) -> bool:
    return old.modified is not None and old.modified > here.pack.modified_at


def _says_something(values: Mapping[str, Any]) -> bool:
    return any(value not in (None, "unset") for value in values.values())


def _patch_where_different(patch: SlotPatch, here: Snapshot) -> SlotPatch:
    slot = here.slot(patch.location)
    values = {field: value for field, value in patch.values.items() if getattr(slot, field) != value}
    return SlotPatch(patch.location, values)
