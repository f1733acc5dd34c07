"""Migration from the live-resize service iaas: the folder of its originals, and its database."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packshot.catalog.configuration.snapshots import read_snapshots
from packshot.catalog.packs import packs as pack_rows
from packshot.catalog.variants import tombstones
from packshot.errors import PackshotError
from packshot.model import Original, Snapshot
from packshot.variants.live_request import parse_live_request
from resolvers.caller import Caller
from resolvers.migration.files import name_of, walk
from resolvers.migration.iaas_database import IaasDatabase
from resolvers.migration.report import Report, portions, side_by_side
from resolvers.migration.vimond.documents import check_text, map_pack_id
from resolvers.migration.writing import Arrival, foresee, is_same, write
from resolvers.originals import Source
from resolvers.pack_imports import MAX_PACKS, NewOriginal, NewPack

# As many packs as one call creates. Each call is one job.
IMAGES_AT_ONCE = MAX_PACKS
# Rendered sizes in the report, those of the most images first.
SIZES = 20
# The main location of a new pack, which shows the image of the service.
LOCATION = "main"


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the migration from the live-resize service.

    Attributes:
        force: replace the original of an image that has another one here.
    """

    force: bool = False
    dry_run: bool = False
    threads: int = 2


def count_files(folder: Path) -> int:
    """Return the number of files.

    Raises:
        OSError: a folder cannot be read.
    """
    return sum(1 for _ in walk(folder))


def migrate_images(
    caller: Caller,
    folder: Path,
    options: Options,
    report: Report,
    *,
    seen: Callable[[Report, int], None],
) -> None:
    """Create a pack for each original in a folder. Its name becomes the pack's external id.

    The service gives each id to one image only. So an image that has another original here stays as it is.

    Raises:
        OSError: a store or the folder does not answer.
    """

    def take(paths: Sequence[Path]) -> Report:
        part = Report()
        _take(caller, paths, options, part)
        return part

    batches = portions(walk(folder), IMAGES_AT_ONCE)
    side_by_side(take, batches, report, name=_name, threads=options.threads, seen=seen)


def _name(path: Path) -> tuple[str, str]:
    return "image", name_of(path.name)


def find_missing(caller: Caller, database: IaasDatabase, report: Report) -> None:
    """Report the images that the old service has rendered and that Packshot does not have.

    Raises:
        BadState: it is another database.
        DatabaseFault: the database does not answer.
    """
    for ids in database.rendered_ids():
        with caller.site.catalog.read(caller.tenant) as tx:
            known = pack_rows.find_packs(tx, external_ids=ids)
        for id in ids:
            if id not in known:
                report.left("image", id, "The database knows it, and the migration has not found it.", "MISSING")


def is_reachable(id: str) -> bool:
    """Whether live URLs can name an image by this id, with and without a size.

    >>> is_reachable("portrait_2"), is_reachable("portrait_100_100")
    (True, False)
    """
    try:
        forms = [parse_live_request(f"{id}{end}.jpg", "") for end in ("", "_1_1")]
    except PackshotError:
        return False
    return all(form.image_id == id for form in forms) and forms[0].size is None


def _take(caller: Caller, paths: Sequence[Path], options: Options, report: Report) -> None:
    found: dict[str, Path] = {}
    for path in paths:
        id = name_of(path.name)
        try:
            check_text(id, "id")
        except PackshotError as error:
            report.left("image", ascii(str(path)), error)
            continue
        if id in found:
            report.left(
                "image", id, f"There are two files of it, {found[id]} and {path}; the first one is used.", "TWICE"
            )
            continue
        if not os.access(path, os.R_OK):
            report.left("image", id, f"The file {path} cannot be read.", "UNREADABLE")
            continue
        found[id] = path
    with caller.site.catalog.read(caller.tenant) as tx:
        known = pack_rows.find_packs(tx, external_ids=list(found))
        snapshots = read_snapshots(tx, list(known.values()))
        erased = tombstones.find_erased(tx, [map_pack_id(id, "iaas") for id in found])
    arrivals = []
    same: list[tuple[str, str]] = []
    for id, path in found.items():
        if not is_reachable(id):
            why = "Not every live URL can contain this id; stable URLs with the pack's id show the image."
            report.noted("image", id, "UNREACHABLE", why)
        if map_pack_id(id, "iaas") in erased:
            report.left("image", id, "It was erased here, so it is not migrated.", "ERASED")
            continue
        existing = snapshots.get(known.get(id, ""))
        if existing is not None and (shown := _same_original(path, existing)) is not None:
            report.counts["packsUnchanged"] += 1
            same.append((existing.pack.id, shown.sha256))
            continue
        arrival = _compare(id, path, existing, options, report)
        if arrival is not None:
            arrivals.append(arrival)
    if options.dry_run:
        foresee(arrivals, report)
        return
    write(caller, arrivals, report)
    _mark(caller, same)


def _mark(caller: Caller, same: Sequence[tuple[str, str]]) -> None:
    """Record that originals that exist already are those of the live-resize service."""
    with caller.site.catalog.read(caller.tenant) as tx:
        unmarked = set(same) - pack_rows.find_live_originals(tx, same)
    if unmarked:
        with caller.site.catalog.write(caller.tenant) as tx:
            pack_rows.mark_live_originals(tx, unmarked)


def _same_original(path: Path, existing: Snapshot) -> Original | None:
    """Return the original that a pack shows at its main location, if it is the file's."""
    location = existing.pack.main_location or LOCATION
    kept = existing.pack_location(location).original
    return kept if is_same(path, kept, existing, location) else None


def _compare(id: str, path: Path, existing: Snapshot | None, options: Options, report: Report) -> Arrival | None:
    """Return what to write of one image; None: another original is here, and stays."""
    location = LOCATION if existing is None else existing.pack.main_location or LOCATION
    original = NewOriginal(location, Source(received=path))
    if existing is None:
        # The same id in every run, so that an erased image is recognized.
        new = NewPack({"external_id": id}, [original], id=map_pack_id(id, "iaas"), live=True)
        return Arrival(id, new, what="image")
    kept = existing.pack_location(location).original
    if kept is not None and not options.force:
        why = (
            "Another original is here, and each id belongs to one image; --force replaces it."
            " Two files may have this name."
        )
        report.left("image", id, why, "TAKEN")
        return None
    return Arrival(id, NewPack({}, [original], id=existing.pack.id, live=True), what="image", exists=True)
