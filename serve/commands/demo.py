"""Sample content: labelled images in three packs and five locations, and the URLs to open."""

import mimetypes
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from packshot.catalog.work.jobs import FINAL, Job
from packshot.errors import PackshotError
from packshot.geometry import Crop, Gravity, Size
from packshot.model import IncludeAll
from packshot.render.drawing.key_art import draw_key_art
from resolvers import jobs, locations, originals, packs, uploads
from resolvers.caller import Caller
from resolvers.originals import Source

LOCATIONS: dict[str, dict[str, Any]] = {
    "main": {"label": "Main picture", "width": 1280, "height": 720},
    "thumb": {"label": "Thumbnail", "width": 320, "height": 180, "fallback": "main"},
    "portal-cover": {"label": "Portrait cover", "width": 400, "height": 600, "fallback": "main"},
    "banner": {
        "label": "Wide banner, anchored at the top",
        "width": 1600,
        "height": 400,
        "fallback": "main",
        "resize_gravity": Gravity.NORTH,
    },
    "badge": {
        "label": "Square, the whole image with transparent padding",
        "width": 300,
        "height": 300,
        "fallback": "main",
        "include_all": IncludeAll.TRUE,
    },
}
ART = (
    ("demo-harbour", "HARBOUR LIGHTS", Size(3200, 2000), 0.55, False),
    ("demo-orchard", "ORCHARD ROAD", Size(2000, 3000), 0.30, False),
    ("demo-moth", "MOTH", Size(1800, 1800), 0.08, True),
)
CROPPED = ("portal-cover", Crop(0.0, 0.0, 0.5, 1.0))


@dataclass(frozen=True, slots=True)
class Sample:
    """One image for a pack, and the file that it came from; None: it was drawn."""

    external_id: str
    media_type: str
    data: bytes
    path: Path | None = None


@dataclass(slots=True)
class Filled:
    """The packs of the samples, and the files that were refused or could not be rendered."""

    pack_ids: list[str] = field(default_factory=list)
    refused: list[tuple[Path | None, PackshotError]] = field(default_factory=list)
    failed: int = 0


def samples(images: Sequence[Path]) -> Iterator[Sample]:
    """Yield the given images, or drawn ones if none are given."""
    for path in images:
        data = path.read_bytes()
        # Two images of one name in different folders become two packs; the same file twice becomes one.
        name = f"demo-{path.stem[:200]}-{sha256(data).hexdigest()[:8]}"
        yield Sample(name, mimetypes.guess_type(path.name)[0] or "image/unknown", data, path)
    if images:
        return
    for external_id, title, size, hue, transparent in ART:
        media_type = "image/png" if transparent else "image/jpeg"
        yield Sample(external_id, media_type, draw_key_art(title, size, hue=hue, transparent=transparent))


def fill(caller: Caller, images: Sequence[Path], console: Console, run_jobs: Callable[[], None]) -> Filled:
    """Create the sample locations and packs that do not exist yet, and wait until they are rendered.

    Args:
        run_jobs: called repeatedly; runs the jobs in this process once no other process does.
    """
    waiting: list[str] = []
    for name, changes in LOCATIONS.items():
        known = locations.get_location(caller, name)
        # A new tenant's `main` has no size. A size that a user has set stays.
        if known is None or (name == "main" and known.version == 1):
            job = locations.put_location(caller, name, changes).job
            waiting += [job.id] if job else []
    filled = Filled()
    for number, sample in enumerate(samples(images)):
        try:
            pack_id, job_ids = _pack_of(caller, sample, cropped=number == 0)
        except PackshotError as error:
            filled.refused.append((sample.path, error))
            continue
        filled.pack_ids.append(pack_id)
        waiting += job_ids
    filled.failed = sum(job.failed for job in watch(caller, waiting, console, run_jobs))
    return filled


def _pack_of(caller: Caller, sample: Sample, *, cropped: bool) -> tuple[str, list[str]]:
    pack_id = packs.find_pack(caller, external_id=sample.external_id)
    if (
        pack_id is not None
        and packs.load_snapshots(caller, [pack_id])[pack_id].pack_location("main").original is not None
    ):
        return pack_id, []
    # Before the pack is created, so that a refused image leaves no pack behind.
    upload_id = upload(caller, sample)
    uploads.check_upload(caller, upload_id)
    if pack_id is None:
        pack_id = packs.create_pack(caller, {"external_id": sample.external_id}).pack.id
    _, job = originals.set_original(caller, pack_id, "main", Source(upload_id=upload_id))
    job_ids = [job.id]
    if cropped:
        _, job = packs.set_crop(caller, pack_id, *CROPPED)
        job_ids.append(job.id)
    return pack_id, job_ids


def upload(caller: Caller, sample: Sample) -> str:
    """Upload an image as a client does, but without HTTP; return the upload's id."""
    announced, token = uploads.create_upload(caller, media_type=sample.media_type, size=len(sample.data), sha256=None)
    begun = uploads.begin_upload(caller.site, caller.tenant, announced.id, token)
    path = caller.site.incoming / f"demo-{announced.id}"
    path.write_bytes(sample.data)
    try:
        uploads.finish_upload(caller.site, caller.tenant, begun, path)
    finally:
        path.unlink()
    return announced.id


def watch(caller: Caller, job_ids: Sequence[str], console: Console, run_jobs: Callable[[], None]) -> list[Job]:
    """Show one progress bar over all jobs until they end; return the jobs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("variants"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("rendering", total=None)
        while True:
            run_jobs()
            found = list(jobs.get_jobs(caller, job_ids).values())
            finished = sum(job.done + job.skipped + job.failed for job in found)
            progress.update(task, completed=finished, total=sum(job.total for job in found))
            if all(job.state in FINAL for job in found):
                return found
            time.sleep(0.2)


def tour(caller: Caller, pack_ids: Sequence[str], console: Console) -> None:
    """Print the URLs to open."""
    console.print("\n[bold]Images to open[/bold] (stable URLs; they always show the current variant)")
    for pack_id in pack_ids:
        console.print(f"  pack {pack_id}")
        for name in LOCATIONS:
            console.print(f"    {name:<13}{caller.origin}/api/v2/img/{pack_id}?location={name}", soft_wrap=True)
    if pack_ids:
        base = f"{caller.origin}/api/v2/img/{pack_ids[0]}"
        console.print("\n[bold]Rendered on demand[/bold]")
        for query in (
            "location=main&width=500&height=500&resize-gravity=northwest",
            "location=portal-cover&skip-crop=true",
            "location=main&width=700&resize-mode=clip&format=webp",
        ):
            console.print(f"  {base}?{query}", soft_wrap=True)
