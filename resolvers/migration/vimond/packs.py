"""Migration of packs of the image service, by their ids or by asset ids."""

import os
import secrets
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packshot.catalog.variants import tombstones
from packshot.errors import Forbidden, NotFound, PackshotError
from packshot.model import Snapshot
from resolvers import packs
from resolvers.caller import Caller
from resolvers.migration.files import files_of
from resolvers.migration.report import NEWER_HERE, Report, portions, side_by_side
from resolvers.migration.vimond.documents import OldPack, map_pack_id, read_pack
from resolvers.migration.vimond.locations import LocationNames, Options
from resolvers.migration.vimond.pictures import PackPictures, keep_ours, place
from resolvers.migration.vimond.service import Away, VimondService
from resolvers.migration.writing import Arrival, foresee, is_same, write
from resolvers.originals import Source
from resolvers.pack_imports import NewOriginal, NewPack
from resolvers.packs import PackLocationPatch

PACKS_AT_ONCE = 20
# Packs in a row without an answer, after which the old service counts as away.
MAX_SILENT = 5


@dataclass(frozen=True, slots=True)
class RequestedPack:
    """A pack to migrate.

    Attributes:
        id: pack id or asset id.
        of_asset: whether it is an asset id.
        may_lack: an asset without a pack is not reported.
    """

    id: str
    of_asset: bool = False
    may_lack: bool = False


def migrate_packs(
    caller: Caller,
    service: VimondService,
    location_names: LocationNames,
    named: Iterator[RequestedPack],
    options: Options,
    report: Report,
    *,
    folder: Path,
    seen: Callable[[Report, int], None],
) -> None:
    """Migrate packs in several threads. A pack that exists here is compared, and only differences are written.

    Args:
        folder: for images that are being received. It may be deleted afterwards.
        seen: called after each portion, with its report and its number of packs.

    Raises:
        Forbidden: the old service refuses the credentials.
        Away: the old service no longer answers.
        OSError: a store or the folder of originals does not answer.
    """
    migration = _PackMigration(caller, service, location_names, options, folder)
    batches = portions(named, PACKS_AT_ONCE)
    side_by_side(migration.take, batches, report, name=_name, threads=options.threads, seen=seen)


def _name(requested: RequestedPack) -> tuple[str, str]:
    return "asset" if requested.of_asset else "pack", requested.id


class _PackMigration:
    """Migrates portions of packs. Thread-safe."""

    def __init__(
        self, caller: Caller, service: VimondService, location_names: LocationNames, options: Options, folder: Path
    ) -> None:
        self._caller = caller
        self._service = service
        self._location_names = location_names
        self._options = options
        self._folder = folder
        self._silent = 0
        self._lock = threading.Lock()

    def take(self, named: Sequence[RequestedPack]) -> Report:
        report, found = Report(), dict[str, OldPack]()
        for requested in named:
            old = self._ask(requested, report)
            if old is not None:
                found[map_pack_id(old.id)] = old
        snapshots = packs.load_snapshots(self._caller, list(found))
        with self._caller.site.catalog.read(self._caller.tenant) as tx:
            erased = tombstones.find_erased(tx, list(found))
        folder = self._folder / secrets.token_hex(8)
        folder.mkdir(0o700)
        try:
            arrivals = []
            for pack_id, old in found.items():
                if pack_id in erased:
                    report.left("pack", old.id, "It was erased here, so it is not migrated.", "ERASED")
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

    def _ask(self, requested: RequestedPack, report: Report) -> OldPack | None:
        what, _ = _name(requested)
        try:
            old = read_pack(
                self._service.pack_of_asset(requested.id) if requested.of_asset else self._service.pack(requested.id)
            )
        except Away as error:
            self._count_silence()
            report.left(what, requested.id, f"The old service does not answer: {error}.", "AWAY")
            return None
        except Forbidden:
            raise
        except NotFound as error:
            if requested.may_lack:
                report.counts["assetsWithoutPack"] += 1
            else:
                report.left(what, requested.id, error)
            return None
        except PackshotError as error:
            report.left(what, requested.id, error)
            return None
        self._silent = 0
        return old

    def _count_silence(self) -> None:
        with self._lock:
            self._silent += 1
            if self._silent >= MAX_SILENT:
                raise Away(f"no answer for {MAX_SILENT} packs in a row")

    def _compare(self, pack_id: str, old: OldPack, existing: Snapshot | None, folder: Path, report: Report) -> Arrival:
        """Return what to write of one pack. It is empty if the pack does not differ."""
        for location, fault in old.faults:
            report.left("pack" if location is None else "pack location", place(old, location), fault)
        keeps_ours = existing is not None and not self._options.force and not _is_later(old, existing)
        values, overrides = self._differing(pack_id, old, existing, report)
        if keeps_ours and (values or overrides):
            fields = ", ".join([*values, *(f"{patch.location} {' '.join(patch.values)}" for patch in overrides)])
            why = f"It differs here in {fields}, and was changed later; --force overwrites it."
            report.left("pack", old.id, why, NEWER_HERE)
            values, overrides = {}, []
        if self._options.originals is not None:
            originals = self._from_files(self._options.originals, old, existing, report, keeps_ours=keeps_ours)
        else:
            largest = self._caller.site.settings.max_upload_bytes
            pictures = PackPictures(
                self._service, self._location_names, self._options, old, existing, keeps_ours, folder, largest, report
            )
            originals = pictures.take()
        return Arrival(old.id, NewPack(values, originals, overrides, pack_id), exists=existing is not None)

    def _differing(
        self, pack_id: str, old: OldPack, existing: Snapshot | None, report: Report
    ) -> tuple[dict[str, Any], list[PackLocationPatch]]:
        values = dict(old.values)
        if pack_id != old.id:
            values["external_id"] = old.id
            report.mapped("pack", old.id, pack_id, "Its old id is its external id here; URLs need the new id.")
        main = old.main_location
        values["main_location"] = None if main is None else self._name_of(old, main, "main location", report)
        all_patches = []
        for location, fields in old.overrides.items():
            name = self._name_of(old, location, "pack location", report)
            if name is not None:
                all_patches.append(PackLocationPatch(name, fields))
        if existing is None:
            return values, [patch for patch in all_patches if _says_something(patch.values)]
        differing = {field: value for field, value in values.items() if getattr(existing.pack, field) != value}
        patches = [_patch_where_different(patch, existing) for patch in all_patches]
        return differing, [patch for patch in patches if patch.values]

    def _name_of(self, old: OldPack, location: str, what: str, report: Report) -> str | None:
        name = self._location_names.name_of(location)
        if name is None:
            report.left(what, place(old, location), f"There is no location {location!r} here.", "NOT_FOUND")
        return name

    def _from_files(
        self, folder: Path, old: OldPack, existing: Snapshot | None, report: Report, *, keeps_ours: bool
    ) -> list[NewOriginal]:
        """Return the files of the old bucket that are not originals here yet."""
        originals, files = [], files_of(folder, old.id)
        for location in old.overrides:
            if location in files or self._location_names.name_of(location) is None:
                continue
            report.left("original", place(old, location), "The folder has no file of it.", "NOT_FOUND")
        for location, path in files.items():
            name = self._location_names.name_of(location)
            if name is None:
                if location not in old.overrides:
                    self._name_of(old, location, "original", report)
                continue
            if not os.access(path, os.R_OK):
                report.left("original", place(old, location), f"The file {path} cannot be read.", "UNREADABLE")
                continue
            kept = None if existing is None else existing.pack_location(name).original
            if is_same(path, kept, existing, name):
                continue
            if kept is not None and keeps_ours:
                keep_ours(old, location, report)
                continue
            originals.append(NewOriginal(name, Source(received=path)))
        return originals


def _is_later(old: OldPack, existing: Snapshot) -> bool:
    return old.modified is not None and old.modified > existing.pack.modified_at


def _says_something(values: Mapping[str, Any]) -> bool:
    return any(value not in (None, "unset") for value in values.values())


def _patch_where_different(patch: PackLocationPatch, existing: Snapshot) -> PackLocationPatch:
    pack_location = existing.pack_location(patch.location)
    values = {field: value for field, value in patch.values.items() if getattr(pack_location, field) != value}
    return PackLocationPatch(patch.location, values)
