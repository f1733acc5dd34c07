"""The images of one pack of the image service. Images that come from a fallback location are left out."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path

from packshot.errors import NotFound, PackshotError
from packshot.model import Original, Snapshot
from packshot.originals.ingest import digest_file
from resolvers.migration.report import NEWER_HERE, Report
from resolvers.migration.vimond.documents import OldPack
from resolvers.migration.vimond.locations import LocationNames, Options
from resolvers.migration.vimond.service import Away, VimondService
from resolvers.originals import Source
from resolvers.pack_imports import NewOriginal

# An image that was changed this shortly before it was received may be the old or the new one.
MARGIN = timedelta(hours=1)


class Absent(Enum):
    """Why there is no image."""

    NONE = "none"  # The old service shows nothing there.
    UNKNOWN = "unknown"  # It could not be received.


@dataclass(frozen=True, slots=True)
class OldPicture:
    """A received image, and the SHA-256 of its bytes in hex."""

    path: Path
    digest: str


@dataclass(slots=True)
class PackPictures:
    """Receives the images of one pack, each once.

    Only images of one run are compared. An original here may come from a file, or may have been replaced.

    Attributes:
        existing: the pack in this installation; None: it has none.
        keeps_ours: an original that differs here stays.
        folder: for received images.
    """

    service: VimondService
    location_names: LocationNames
    options: Options
    old: OldPack
    existing: Snapshot | None
    keeps_ours: bool
    folder: Path
    max_bytes: int
    report: Report
    _seen: dict[str, OldPicture | Absent] = field(default_factory=dict)

    def take(self) -> list[NewOriginal]:
        """Return the originals that are new or differ."""
        originals = []
        # Fallback locations come first, and the main location before all, because every fallback chain ends there.
        own: list[str] = []
        for location, name in sorted(
            own_places(self.old, self.location_names),
            key=lambda place: (place[0] != self._main, *self._depth(place[0])),
        ):
            kept = None if self.existing is None else self.existing.pack_location(name).original
            if kept is not None and not self._may_have_changed(name):
                own.append(location)
                continue
            if self.options.dry_run and self.existing is None:
                # Only the bytes show whether an image is a fallback's. At most this many are received.
                originals.append(NewOriginal(name, Source()))
                continue
            picture = self._picture(location)
            if isinstance(picture, Absent):
                if kept is not None or picture is Absent.UNKNOWN:
                    own.append(location)
                continue
            if self._is_of_fallback(location, picture, own, kept):
                continue
            own.append(location)
            if kept is not None and kept.sha256 == picture.digest:
                continue
            if kept is not None and self.keeps_ours:
                keep_ours(self.old, location, self.report)
                continue
            originals.append(NewOriginal(name, Source(received=picture.path)))
        return originals

    def _is_of_fallback(self, location: str, picture: OldPicture, own: list[str], kept: Original | None) -> bool:
        """Whether an image is left out, because it is or may be that of a fallback location. The latter is reported."""
        for source in (fallback for fallback in [*self.location_names.chain(location), self._main] if fallback in own):
            other = self._picture(source)
            if other is Absent.NONE:
                continue
            if isinstance(other, Absent):
                why = f"It may be the original at {source!r}, which was not received."
                self.report.left("original", place(self.old, location), why, "AWAY")
                return True
            if other.digest != picture.digest:
                return False
            if kept is None:
                self.report.counts["shownByFallback"] += 1
            elif kept.sha256 != picture.digest:
                why = f"The old service shows the original at {source!r} there; the original that is here stays."
                self.report.left("original", place(self.old, location), why, "NONE_THERE")
            return True
        return False

    @property
    def _main(self) -> str:
        return self.old.main_location or "main"

    def _depth(self, location: str) -> tuple[int, str]:
        return len(self.location_names.chain(location)), location

    def _may_have_changed(self, name: str) -> bool:
        taken_at: datetime | None = None if self.existing is None else self.existing.pack_location(name).original_at
        if self.options.force or taken_at is None:
            return True
        return self.old.modified is not None and self.old.modified + MARGIN > taken_at

    def _picture(self, location: str) -> OldPicture | Absent:
        if location not in self._seen:
            self._seen[location] = self._receive(location)
        return self._seen[location]

    def _receive(self, location: str) -> OldPicture | Absent:
        path, where = self.folder / secrets.token_hex(8), place(self.old, location)
        try:
            self.service.picture(self.old.id, location, path, width=self.options.width, max_bytes=self.max_bytes)
        except Away as error:
            self.report.left("original", where, f"The old service does not answer: {error}.", "AWAY")
        except NotFound as error:
            if self.old.overrides:
                self.report.left("original", where, error)
            else:
                self.report.counts["packsWithoutPicture"] += 1
            return Absent.NONE
        except PackshotError as error:
            self.report.left("original", where, error)
        else:
            return OldPicture(path, digest_file(path))
        return Absent.UNKNOWN


def own_places(old: OldPack, location_names: LocationNames) -> list[tuple[str, str]]:
    """Return the locations at which a pack may have an original, each by old and new name."""
    # A pack that names no location may have an original at its main location.
    named = list(old.overrides) or [old.main_location or "main"]
    found = ((location, location_names.name_of(location)) for location in named)
    return [(location, name) for location, name in found if name is not None]


def place(old: OldPack, location: str | None) -> str:
    """Return the name of a pack's location in the report; None: the pack itself."""
    return old.id if location is None else f"{old.id}/{location}"


def keep_ours(old: OldPack, location: str, report: Report) -> None:
    """Report an original that differs and stays."""
    why = "Another original is here, and the pack was changed later than in the old service; --force replaces it."
    report.left("original", place(old, location), why, NEWER_HERE)
