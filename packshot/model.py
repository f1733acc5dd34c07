"""The values Packshot is about, as frozen data: no rows, no pixels, no rules."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property

from packshot.errors import Invalid, PackshotError
from packshot.geometry import Crop, Gravity

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# How long an original that could not be decoded is refused without another try.
FAILURE_SECONDS = 600.0

PACK_ID = re.compile(r"[0-9a-f]{24}")


def check_name(value: str, *field: str) -> str:
    """Return `value` if it can name a tenant or a location, else raise `Invalid`."""
    if not NAME.fullmatch(value):
        raise Invalid(
            "A name is 1 to 63 lower-case letters, digits and hyphens and starts with a letter or digit.",
            field=field,
            expected="[a-z0-9][a-z0-9-]{0,62}",
            got=value,
        )
    return value


class Format(StrEnum):
    """An image format that Packshot writes."""

    AVIF = "avif"
    WEBP = "webp"
    JPEG = "jpeg"
    PNG = "png"
    GIF = "gif"

    # Read for every variant of a page of packs, and `Enum.value` is slow in Python 3.11.
    @cached_property
    def media_type(self) -> str:
        return f"image/{self.value}"

    @cached_property
    def extension(self) -> str:
        return "jpg" if self is Format.JPEG else self.value

    @cached_property
    def has_alpha(self) -> bool:
        return self is not Format.JPEG


class FormatPolicy(StrEnum):
    """Which format a URL without `format` gives."""

    AUTO = "auto"
    ORIGINAL = "original"
    AVIF = "avif"
    WEBP = "webp"
    JPEG = "jpeg"
    PNG = "png"


class OnDemand(StrEnum):
    """Which variants besides the planned ones clients can have rendered."""

    ANY = "any"
    STEPS = "steps"
    RENDITIONS = "renditions"
    SIGNED = "signed"


class IncludeAll(StrEnum):
    """Whether a picture of another ratio is padded (TRUE) or cropped (FALSE)."""

    UNSET = "unset"
    TRUE = "true"
    FALSE = "false"


@dataclass(frozen=True, slots=True)
class Focus:
    """The focal point on the upright original, each coordinate from 0.0 to 1.0."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Rendition:
    """A size rendered ahead of time; a missing axis follows the location's ratio."""

    width: int | None
    height: int | None
    dpr: float = 1.0


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who owns packs and locations, and what applies where nothing else is said.

    Attributes:
        keep_credits: an original's copyright and credit lines stay in its variants.
        on_demand: which variants besides the planned ones clients can have rendered.
        unplanned_bytes: most bytes of unplanned variants that are kept; None: as the installation says.
    """

    name: str
    version: int
    resize_gravity: Gravity
    include_all: bool
    format_policy: FormatPolicy
    keep_credits: bool = False
    on_demand: OnDemand = OnDemand.ANY
    unplanned_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Location:
    """A tenant-wide named slot with a default size and resize behaviour.

    Attributes:
        renditions: sizes rendered ahead of time besides the default size;
            None: the location's own size at 1x and 2x.
        formats: formats rendered ahead of time; None: AVIF, WebP, and JPEG
            (PNG where there is alpha).
        revision: counts planned re-renderings; part of every fingerprint.
    """

    name: str
    version: int
    label: str | None
    width: int | None
    height: int | None
    fallback: str | None
    resize_gravity: Gravity | None
    include_all: IncludeAll
    allow_upscale: bool
    renditions: tuple[Rendition, ...] | None
    formats: tuple[Format, ...] | None
    revision: int
    added_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class LocationVersion:
    """What a location was, is, or is about to be.

    Attributes:
        active_from: when it went live; None: it is being prepared.
        active_to: when another one took its place; None: it is live, or not yet.
        changed_by: who asked for it; None: not known, or a change elsewhere did.
        revert_renders_all: its variants were superseded by later ones, so a revert renders everything.
    """

    version: int
    label: str | None
    width: int | None
    height: int | None
    fallback: str | None
    resize_gravity: Gravity | None
    include_all: IncludeAll
    allow_upscale: bool
    renditions: tuple[Rendition, ...] | None
    formats: tuple[Format, ...] | None
    active_from: datetime | None
    active_to: datetime | None
    changed_by: str | None
    revert_renders_all: bool = False


@dataclass(frozen=True, slots=True)
class Original:
    """An uploaded picture, known by its content.

    Attributes:
        width, height: pixels of the upright picture.
        alpha: whether any pixel may be transparent.
        format: what the bytes are; its own name, as the decoder gives it.
        quality: 1 to 100, of a JPEG, estimated from its quantisation tables; None: not known.
        decoding_seconds: CPU time of decoding all its frames once; None: not measured yet.
        decode_revision: 0 if its pixels come out as in the first release; else the number of the decoder's change
            that they depend on, which is part of every fingerprint. None: an earlier release has looked at it.
        failure: why it could not be decoded when that was last tried; None: it could.
        failed_at: when that was.
    """

    sha256: str
    width: int
    height: int
    bytes: int
    format: str
    alpha: bool
    frames: int
    thumbhash: str | None
    dominant_color: str | None
    quality: int | None = None
    decoding_seconds: float | None = field(default=None, compare=False)
    decode_revision: int | None = None
    failure: PackshotError | None = field(default=None, compare=False)
    failed_at: datetime | None = field(default=None, compare=False)

    @property
    def media_type(self) -> str:
        return f"image/{self.format}"

    @property
    def recent_failure(self) -> PackshotError | None:
        """Why it could not be decoded a short time ago; None: it may be tried."""
        if self.failed_at is None:
            return None
        # In either direction, as the clocks of machines differ.
        is_recent = abs(datetime.now(UTC) - self.failed_at) < timedelta(seconds=FAILURE_SECONDS)
        return self.failure if is_recent else None

    @property
    def moves(self) -> bool:
        """Whether variants can move as it does; of an animated AVIF or PNG the first frame is shown."""
        return self.frames > 1 and self.format in ("gif", "webp")


@dataclass(frozen=True, slots=True)
class PackLocation:
    """One location of one pack: its own original if it has one, and its overrides."""

    pack_id: str
    location: str
    version: int = 0
    original: Original | None = None
    original_at: datetime | None = None
    crop: Crop | None = None
    focus: Focus | None = None
    resize_gravity: Gravity | None = None
    include_all: IncludeAll = IncludeAll.UNSET
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Pack:
    """The originals of one asset, and what holds for all of them."""

    id: str
    version: int
    sequence_number: int
    asset_id: int | None
    external_id: str | None
    main_location: str | None
    resize_gravity: Gravity | None
    include_all: IncludeAll
    created_at: datetime
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that decides what a pack's URLs give, read in one statement.

    Attributes:
        locations: every location of the tenant, by name.
        slots: the pack's own pack locations, by name; most packs have few.
    """

    tenant: Tenant
    locations: Mapping[str, Location]
    pack: Pack
    pack_locations: Mapping[str, PackLocation]

    def pack_location(self, location: str) -> PackLocation:
        """Return the pack location, an empty one where nothing was ever set."""
        return self.pack_locations.get(location) or PackLocation(self.pack.id, location)
