"""Migration from the services that Packshot replaces."""

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

import typer

from packshot.ids import IdKind, global_id
from serve.commands.endings import DOWN, REFUSED, WITH_FAILURES, stop
from serve.commands.shell import AsJson, OfTenant, calling, print_json, progress, store_answering

if TYPE_CHECKING:
    from resolvers.caller import Caller
    from resolvers.migration.iaas_database import RenderedSize
    from resolvers.migration.report import Kind, MigrationFinding, Report
    from resolvers.migration.vimond.packs import RequestedPack
    from resolvers.migration.vimond.service import Credentials

app = typer.Typer(
    help="Migrate locations, packs and originals from an old service; can be repeated.", no_args_is_help=True
)

# Most findings of one kind that are printed.
SHOWN = 20
STANDARD_INPUT = Path("-")
GO_ON = "What was migrated is kept; run the same command again to continue."

DryRun = Annotated[bool, typer.Option("--dry-run", help="Report what would be done; change nothing.")]
Threads = Annotated[int, typer.Option(min=1, max=32, metavar="N", help="Items that are migrated at the same time.")]
ReportFile = Annotated[
    Path | None,
    typer.Option(
        "--report", metavar="FILE", dir_okay=False, help="Write every finding to this file, one JSON document a line."
    ),
]
Listen = Callable[["Report", int], None]


@app.command()
def vimond(
    url: Annotated[str, typer.Option(metavar="URL", help="The URL of the old image service, such as https://host.")],
    packs: Annotated[
        Path | None,
        typer.Option(metavar="FILE", allow_dash=True, help="A file with pack ids, one a line; - reads standard input."),
    ] = None,
    assets: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            allow_dash=True,
            help="A file with asset ids, one a line, whose packs are migrated; - reads standard input.",
        ),
    ] = None,
    asset_range: Annotated[
        str | None,
        typer.Option(metavar="A-B", help="Migrate the packs of assets A to B; assets without a pack are skipped."),
    ] = None,
    originals: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="A copy of the old bucket, with files <pack>/<location>[.<ext>].",
        ),
    ] = None,
    width: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="PIXELS",
            help="Without --originals: the width of requested images in pixels. [PACKSHOT_MAX_WIDTH]",
        ),
    ] = None,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="Also overwrite what was changed here later, and locations that packs use; at once."
        ),
    ] = False,
    dry_run: DryRun = False,
    threads: Threads = 4,
    report_file: ReportFile = None,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Migrate from the Vimond Image Service: all its locations, and the named packs. A second run migrates only what is
    new.

    Credentials come from the environment: VIMOND_TOKEN (bearer) or VIMOND_BASIC (name:password), and VIMOND_ACCESS_KEY
    for images.
    """
    from resolvers.migration.report import Report
    from resolvers.migration.vimond.locations import Options, migrate_locations
    from resolvers.migration.vimond.packs import migrate_packs
    from resolvers.migration.vimond.service import VimondService

    named, total = _named(packs, assets, asset_range)
    credentials = _credentials()
    with calling(tenant) as caller, _scratch(caller) as folder, store_answering():
        options = Options(originals, width or caller.site.settings.max_width, force, dry_run, threads)
        service, report = VimondService(url, credentials, threads=threads), Report()
        with _ending(report, report_file, as_json=as_json, dry_run=dry_run) as told:
            places = migrate_locations(caller, service, options, report)
            told(report)
            with progress("packs", total, shown=not as_json) as move:
                migrate_packs(
                    caller, service, places, named, options, report, folder=folder, seen=_counting(told, move)
                )
        service.close()
    _finish(report, as_json=as_json, dry_run=dry_run)


@app.command()
def iaas(
    directory: Annotated[
        Path,
        typer.Option(
            "--dir",
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="The folder of the originals; each file's name is its id.",
        ),
    ],
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The old database, postgresql://user@host/name; the password comes from PGPASSWORD."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also replace originals that differ here.")] = False,
    dry_run: DryRun = False,
    threads: Threads = 2,
    report_file: ReportFile = None,
    tenant: OfTenant = None,
    as_json: AsJson = False,
) -> None:
    """Migrate from the live-resize service: one pack for each original in a folder. A second run migrates only what is
    new.
    """
    from resolvers.migration import iaas
    from resolvers.migration.iaas_database import IaasDatabase
    from resolvers.migration.report import Report

    with calling(tenant) as caller, store_answering():
        report, sizes = Report(), None
        old = None if database is None else IaasDatabase(database)
        with _ending(report, report_file, as_json=as_json, dry_run=dry_run) as told:
            if old is not None:
                # First, so that a wrong address is reported before hours of work.
                sizes = old.most_rendered(iaas.SIZES)
            is_shown = not as_json and sys.stderr.isatty()
            with progress("images", iaas.count_files(directory) if is_shown else None, shown=is_shown) as move:
                options = iaas.Options(force, dry_run, threads)
                iaas.migrate_images(caller, directory, options, report, seen=_counting(told, move))
            if old is not None and not dry_run:
                missing = Report()
                iaas.find_missing(caller, old, missing)
                report.take(missing)
                told(missing)
    _finish(report, as_json=as_json, dry_run=dry_run, sizes=sizes)


def _named(
    packs: Path | None, assets: Path | None, asset_range: str | None
) -> tuple[Iterator["RequestedPack"], int | None]:
    """Return the requested packs and their number; None: the number is unknown."""
    from resolvers.migration.vimond.documents import plain_id
    from resolvers.migration.vimond.packs import RequestedPack

    if packs is not None and packs == assets:
        raise typer.BadParameter("--packs and --assets cannot read the same file.")
    for path in filter(None, (packs, assets)):
        if path != STANDARD_INPUT and (path.is_dir() or not path.exists()):
            raise typer.BadParameter(f"The file {str(path)!r} does not exist.")
    first, last = _range(asset_range)
    counted = [_count(path) for path in (packs, assets) if path is not None]
    named = chain(
        (RequestedPack(plain_id(line)) for line in _lines(packs)),
        (RequestedPack(line, of_asset=True) for line in _lines(assets)),
        (RequestedPack(str(number), of_asset=True, may_lack=True) for number in range(first, last + 1)),
    )
    known = [number for number in counted if number is not None]
    return named, sum(known) + last + 1 - first if len(known) == len(counted) else None


def _range(text: str | None) -> tuple[int, int]:
    if text is None:
        return 1, 0
    first, dash, last = text.partition("-")
    if not (dash and first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
        raise typer.BadParameter(f"--asset-range: expected two numbers, such as 1000-1999, got {text!r}.")
    return int(first), int(last)


def _lines(path: Path | None) -> Iterator[str]:
    if path is None:
        return
    with _opened(path) as file:
        for line in file:
            if (text := line.strip()) and not text.startswith("#"):
                yield text


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    if path == STANDARD_INPUT:
        if isinstance(sys.stdin, TextIOWrapper):
            sys.stdin.reconfigure(encoding="utf-8", errors="replace")
        yield sys.stdin
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        yield file


def _count(path: Path) -> int | None:
    return sum(1 for _ in _lines(path)) if path.is_file() else None


def _credentials() -> "Credentials":
    from resolvers.migration.vimond.service import Credentials

    token, basic, key = (os.environ.get(name) or None for name in ("VIMOND_TOKEN", "VIMOND_BASIC", "VIMOND_ACCESS_KEY"))
    if token is not None and basic is not None:
        stop("Expected one of VIMOND_TOKEN and VIMOND_BASIC, got both.", REFUSED)
    if basic is not None and ":" not in basic:
        stop("VIMOND_BASIC: expected name:password.", REFUSED)
    for name, value in (("VIMOND_TOKEN", token), ("VIMOND_ACCESS_KEY", key)):
        if value is not None and not (value.isascii() and value.isprintable()):
            stop(f"{name}: expected printable ASCII.", REFUSED)
    return Credentials(token, basic, key)


@contextmanager
def _scratch(caller: "Caller") -> Iterator[Path]:
    """Yield a folder for downloads, emptied of what an interrupted run left."""
    from filelock import FileLock, Timeout

    data = caller.site.settings.data
    try:
        with FileLock(data / "importing.lock", timeout=0, mode=0o600):
            folder = data / "importing"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(0o700)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except Timeout:
        stop("Another `packshot import vimond` is running in this data folder.", DOWN)


@contextmanager
def _ending(
    report: "Report", path: Path | None, *, as_json: bool, dry_run: bool
) -> Iterator[Callable[["Report"], None]]:
    """Yield the function that writes findings to the report file; if the migration stops, print what was done."""
    from packshot.catalog.database.transaction import DatabaseFault
    from resolvers.migration.vimond.service import Away

    def cut(message: str, code: int) -> NoReturn:
        _print(report, as_json=as_json, dry_run=dry_run)
        stop(f"{message} {GO_ON}", code)

    with _sink(path) as write:
        try:
            yield write
        except Away as error:
            cut(f"The old service does not answer: {error}.", DOWN)
        except KeyboardInterrupt:
            cut("Stopped.", REFUSED)
        except (OSError, DatabaseFault):
            # The caller that opened the store or database prints the reason.
            _print(report, as_json=as_json, dry_run=dry_run)
            raise


@contextmanager
def _sink(path: Path | None) -> Iterator[Callable[["Report"], None]]:
    import orjson

    if path is None:
        yield lambda _: None
        return
    with path.open("wb") as file:

        def write(part: "Report") -> None:
            for finding in part.findings:
                file.write(orjson.dumps({"kind": finding.kind.value, **_document(finding)}) + b"\n")
            file.flush()

        yield write


def _counting(told: Callable[["Report"], None], move: Callable[[int], None]) -> Listen:
    done = 0

    def seen(part: "Report", size: int) -> None:
        nonlocal done
        done += size
        told(part)
        move(done)

    return seen


def _finish(report: "Report", *, as_json: bool, dry_run: bool, sizes: "list[RenderedSize] | None" = None) -> None:
    from resolvers.migration.report import Kind

    _print(report, as_json=as_json, dry_run=dry_run, sizes=sizes)
    if report.found[Kind.LEFT]:
        raise typer.Exit(WITH_FAILURES)


def _print(report: "Report", *, as_json: bool, dry_run: bool, sizes: "list[RenderedSize] | None" = None) -> None:
    from resolvers.migration.report import Kind

    if as_json:
        document: dict[str, Any] = {"dryRun": dry_run, "counts": dict(sorted(report.counts.items()))}
        document |= {
            "jobs": [global_id(IdKind.JOB, job) for job in list(report.jobs)[:SHOWN]],
            "jobCount": len(report.jobs),
        }
        for kind in Kind:
            document[kind.value] = [_document(finding) for finding in report.of(kind)]
            document[f"{kind.value}Count"] = report.found[kind]
        if sizes is not None:
            document["mostRendered"] = [_size(one) for one in sizes]
        print_json(document)
        return
    for line in _summary(report, dry_run=dry_run):
        typer.echo(line)
    for one in sizes or ():
        quality = "" if one.quality is None else f", quality {one.quality}"
        what = f"{one.width}x{one.height} {one.fit} {one.media_type}{quality}{', blurred' * one.blur}"
        typer.echo(f"The old service rendered {what} of {one.images} images.")
    for kind in (Kind.MAPPED, Kind.NOTED):
        _print_findings(report, kind, err=False)
    if report.found[Kind.LEFT]:
        typer.echo(f"{report.found[Kind.LEFT]} could not be migrated:", err=True)
        _print_findings(report, Kind.LEFT, err=True)


def _summary(report: "Report", *, dry_run: bool) -> Iterator[str]:
    counts = report.counts
    if dry_run:
        yield "A dry run: nothing is changed. A real run would do this."
    for noun in ("Locations", "Packs"):
        words = {verb: counts[f"{noun.lower()}{verb.title()}"] for verb in ("created", "changed", "unchanged")}
        if any(words.values()):
            yield f"{noun}: {', '.join(f'{count} {verb}' for verb, count in words.items())}."
    if counts["originalsTaken"]:
        how = ", as the old service renders them for clients, not as they were uploaded" * bool(
            counts["originalsRendered"]
        )
        # Only their bytes tell which of them equal the fallback's.
        yield f"Originals: {'at most ' * dry_run}{counts['originalsTaken']} migrated{how}."
    for name, what in (
        ("shownByFallback", "pack locations show the same as their fallback, so they get no original of their own"),
        ("packsWithoutPicture", "packs have no image"),
        ("assetsWithoutPack", "assets of the range have no pack"),
    ):
        if counts[name]:
            yield f"{counts[name]} {what}."
    if report.jobs:
        yield f"{len(report.jobs)} jobs render the variants; `packshot jobs list` shows them."


def _print_findings(report: "Report", kind: "Kind", *, err: bool) -> None:
    for finding in report.of(kind)[:SHOWN]:
        to = f" is {finding.to} here" if finding.to is not None else ""
        line = f"  {finding.what} {finding.id}{to}: {finding.message}"
        # Names come from others, so control characters must not reach the terminal.
        typer.echo("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line), err=err)
    if (more := report.found[kind] - SHOWN) > 0:
        typer.echo(f"  and {more} more; --report FILE writes all of them.", err=err)


def _document(finding: "MigrationFinding") -> dict[str, Any]:
    document = {"what": finding.what, "id": finding.id, "code": finding.code, "message": finding.message}
    return document if finding.to is None else {**document, "to": finding.to}


def _size(one: "RenderedSize") -> dict[str, Any]:
    return {
        "width": one.width,
        "height": one.height,
        "fit": one.fit,
        "mediaType": one.media_type,
        "blur": one.blur,
        "quality": one.quality,
        "images": one.images,
    }
