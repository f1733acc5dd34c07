"""The pictures of one pack of the image service: received, and told apart from those of fallbacks."""

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

# Of a picture that was changed there so shortly before it was taken, nobody can tell which one it was.
MARGIN = timedelta(hours=1)


class Absent(Enum):
    """Why there is no picture."""

    NONE = "none"  # The old service shows nothing there.
    UNKNOWN = "unknown"  # It could not be received.


@dataclass(frozen=True, slots=True)
class OldPicture:
    """A picture that was received, and the SHA-256 of its bytes in hex."""

    path: Path
    digest: str


@dataclass(slots=True)
class PackPictures:
    """Receives one pack's pictures, each once.

    Only pictures of one run are compared: what is here may have come from a file, or been replaced since.

    Attributes:
        existing: the pack in this installation; None: it has none.
        keeps_ours: what is here stays where it differs.
        folder: for what is received.
    """

    service: VimondService
    places: LocationNames
    options: Options
    old: OldPack
    existing: Snapshot | None
    keeps_ours: bool
    folder: Path
    max_bytes: int
    report: Report
    _seen: dict[str, OldPicture | Absent] = field(default_factory=dict)

    def take(self) -> list[NewOriginal]:
        """Return those originals that are not here yet, or not any more the same."""
        originals = []
        # Those that others fall back to come first, and the main location, where all fallbacks end.
        own: list[str] = []
        for location, name in sorted(
            own_places(self.old, self.places), key=lambda place: (place[0] != self._main, *self._depth(place[0]))
        ):
            kept = None if self.existing is None else self.existing.pack_location(name).original
            if kept is not None and not self._may_have_changed(name):
                own.append(location)
                continue
            if self.options.dry_run and self.existing is None:
                # Whether it is a fallback's, only its bytes could tell: at most so many are taken.
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
        """Whether a picture is not to be taken, as it is a fallback's or may be; the latter is reported."""
        for source in (one for one in [*self.places.chain(location), self._main] if one in own):
            other = self._picture(source)
            if other is Absent.NONE:
                continue
            if isinstance(other, Absent):
                why = f"Whether it is its own cannot be told without that at {source!r}, which was not received."
                self.report.left("original", place(self.old, location), why, "AWAY")
                return True
            if other.digest != picture.digest:
                return False
            if kept is None:
                self.report.counts["shownByFallback"] += 1
            elif kept.sha256 != picture.digest:
                why = f"The old service shows there what it has at {source!r}; the original that is here stays."
                self.report.left("original", place(self.old, location), why, "NONE_THERE")
            return True
        return False

    @property
    def _main(self) -> str:
        return self.old.main_location or "main"

    def _depth(self, location: str) -> tuple[int, str]:
        return len(self.places.chain(location)), location

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
            self.report.left("original", where, f"The old service is away: {error}.", "AWAY")
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


def own_places(old: OldPack, places: LocationNames) -> list[tuple[str, str]]:
    """Return the locations at which a pack may have an original, by old name and by name here."""
    # A pack that names none may still show something at its main location.
    named = list(old.overrides) or [old.main_location or "main"]
    found = ((location, places.name_of(location)) for location in named)
    return [(location, name) for location, name in found if name is not None]


def place(old: OldPack, location: str | None) -> str:
    """Return how a report names a pack's location; None: the pack itself."""
    return old.id if location is None else f"{old.id}/{location}"


def keep_ours(old: OldPack, location: str, report: Report) -> None:
    """Report an original that differs and is left as it is here."""
    why = "Another original is here, and the pack was changed later than there; --force replaces it."
    report.left("original", place(old, location), why, NEWER_HERE)
