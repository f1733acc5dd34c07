"""The values that Packshot is about, as frozen data: no rows, no pixels, no rules."""

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from typing import Any

from packshot.errors import Invalid, PackshotError
from packshot.geometry import Crop, Gravity

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# An original that could not be decoded is refused for this long without another attempt.
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

    # Cached: a page of packs reads them for every variant, and `Enum.value` is slow in Python 3.11.
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
    """The format that a URL without `format` gives."""

    AUTO = "auto"
    ORIGINAL = "original"
    AVIF = "avif"
    WEBP = "webp"
    JPEG = "jpeg"
    PNG = "png"


class OnDemand(StrEnum):
    """The unplanned variants that clients can have rendered."""

    ANY = "any"
    STEPS = "steps"
    RENDITIONS = "renditions"
    SIGNED = "signed"


class IncludeAll(StrEnum):
    """Whether an image of another ratio is padded (TRUE) or cropped (FALSE)."""

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
    """A size that is rendered ahead of time. A missing axis follows the location's ratio."""

    width: int | None
    height: int | None
    dpr: float = 1.0


@dataclass(frozen=True, slots=True)
class Tenant:
    """The owner of packs and locations, with the defaults for them.

    Attributes:
        keep_credits: variants keep the copyright and credit fields of their original.
        on_demand: the unplanned variants that clients can have rendered.
        unplanned_bytes: maximum bytes of stored unplanned variants; None: the setting of the installation.
    """

    name: str
    version: int
    resize_gravity: Gravity
    include_all: bool
    format_policy: FormatPolicy
    keep_credits: bool = False
    on_demand: OnDemand = OnDemand.ANY
    unplanned_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationFields:
    """The fields of a location that clients set, with their defaults.

    A location, its versions and its pending version have these fields. A change of a location has some of them, by
    name. `LOCATION_FIELDS` describes each field to the rest of the program.

    Attributes:
        label: name for people.
        width, height: default size in pixels; None: the axis follows the image's ratio.
        fallback: the name of the location whose image is shown where a pack has none.
        resize_gravity, include_all: None and UNSET: the tenant's.
        allow_upscale: an image may be enlarged beyond its own pixels.
        renditions: sizes to render ahead of time; None: the location's own size at 1x and 2x.
        formats: formats to render ahead of time; None: AVIF, WebP, and JPEG (PNG for an image with transparency).
    """

    label: str | None = None
    width: int | None = None
    height: int | None = None
    fallback: str | None = None
    resize_gravity: Gravity | None = None
    include_all: IncludeAll = IncludeAll.UNSET
    allow_upscale: bool = False
    renditions: tuple[Rendition, ...] | None = None
    formats: tuple[Format, ...] | None = None

    def field_values(self) -> dict[str, Any]:
        """Return the values of these fields, by name."""
        return {name: getattr(self, name) for name in LOCATION_FIELDS}


class FieldEffect(StrEnum):
    """What a change of a location's field alters."""

    TEXT = "text"  # no image
    VARIANTS = "variants"  # which variants are planned; every image stays as it is
    IMAGES = "images"  # the images that packs show, so that the change needs force


@dataclass(frozen=True, slots=True)
class LocationField:
    """One field of `LocationFields`.

    Attributes:
        name: its name in the core and in the database.
        api_name: its name in GraphQL and REST.
        option: its name on the command line.
        from_json, to_json: convert a value from and to the form in which the database and JSON documents keep it; None:
            both forms are the same.
    """

    name: str
    api_name: str
    option: str
    effect: FieldEffect
    from_json: Callable[[Any], Any] | None = None
    to_json: Callable[[Any], Any] | None = None

    def load(self, kept: Any) -> Any:
        """Return the value of what the database or a JSON document keeps."""
        return kept if kept is None or self.from_json is None else self.from_json(kept)

    def dump(self, value: Any) -> Any:
        """Return a value as the database and JSON documents keep it."""
        return value if value is None or self.to_json is None else self.to_json(value)


LOCATION_FIELDS: Mapping[str, LocationField] = {
    field.name: field
    for field in (
        LocationField("label", "label", "label", FieldEffect.TEXT),
        LocationField("width", "width", "width", FieldEffect.IMAGES),
        LocationField("height", "height", "height", FieldEffect.IMAGES),
        LocationField("fallback", "fallback", "fallback", FieldEffect.IMAGES),
        LocationField("resize_gravity", "resizeGravity", "gravity", FieldEffect.IMAGES, from_json=Gravity),
        LocationField("include_all", "useResizeIncludeAll", "include-all", FieldEffect.IMAGES, from_json=IncludeAll),
        LocationField("allow_upscale", "allowUpscale", "allow-upscale", FieldEffect.IMAGES),
        LocationField(
            "renditions",
            "renditions",
            "renditions",
            FieldEffect.VARIANTS,
            from_json=lambda kept: tuple(Rendition(**item) for item in kept),
            to_json=lambda renditions: [asdict(item) for item in renditions],
        ),
        LocationField(
            "formats",
            "formats",
            "formats",
            FieldEffect.VARIANTS,
            from_json=lambda kept: tuple(Format(item) for item in kept),
            to_json=lambda formats: [item.value for item in formats],
        ),
    )
}
IMAGE_FIELDS = frozenset(name for name, field in LOCATION_FIELDS.items() if field.effect is FieldEffect.IMAGES)
TEXT_FIELDS = frozenset(name for name, field in LOCATION_FIELDS.items() if field.effect is FieldEffect.TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Location(LocationFields):
    """A tenant-wide named place with a size and a resize rule.

    Attributes:
        revision: counts the refreshes of all of its variants; part of every fingerprint.
        updated_at: when the live version went live.
    """

    name: str
    version: int
    revision: int
    added_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LocationVersion(LocationFields):
    """A former, live or pending version of a location.

    Attributes:
        active_from: when it went live; None: it is being prepared.
        active_to: when another version replaced it; None: it is live or pending.
        changed_by: the caller that changed the location; None: unknown, or a side effect of another change.
        revert_renders_all: a revert to it renders everything, because all variants were refreshed or the tenant's
            defaults changed.
    """

    version: int
    active_from: datetime | None
    active_to: datetime | None
    changed_by: str | None
    revert_renders_all: bool = False


@dataclass(frozen=True, slots=True)
class Original:
    """An uploaded image file, identified by its SHA-256.

    Attributes:
        width, height: pixels of the upright image.
        alpha: whether a pixel may be transparent.
        format: the format's name as the decoder gives it.
        quality: 1 to 100, estimated from the quantisation tables of a JPEG; None: unknown.
        decoding_seconds: CPU time to decode all frames once; None: not measured yet.
        decode_revision: the latest change of the decoder that its pixels depend on, part of every fingerprint; 0: they
            are as in the first release; None: an earlier release has probed it.
        failure: why the last attempt to decode it failed; None: it succeeded.
        failed_at: when that attempt was.
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
        """Why it could not be decoded a short time ago; None: it may be tried again."""
        if self.failed_at is None:
            return None
        # In both directions, because the clocks of machines differ.
        is_recent = abs(datetime.now(UTC) - self.failed_at) < timedelta(seconds=FAILURE_SECONDS)
        return self.failure if is_recent else None

    @property
    def moves(self) -> bool:
        """Whether its variants can be animated; of an animated AVIF or PNG only the first frame is drawn."""
        return self.frames > 1 and self.format in ("gif", "webp")


@dataclass(frozen=True, slots=True)
class PackLocation:
    """One pack at one location: its original, if it has its own, with crop, focus and overrides."""

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
    """The originals of one asset, and the settings that apply to all of them."""

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
    """Everything that decides what the URLs of a pack give, read in one statement.

    Attributes:
        locations: every location of the tenant, by name.
        pack_locations: the locations at which the pack has settings, by name; most packs have few.
    """

    tenant: Tenant
    locations: Mapping[str, Location]
    pack: Pack
    pack_locations: Mapping[str, PackLocation]

    def pack_location(self, location: str) -> PackLocation:
        """Return the pack location, or an empty one if nothing was ever set."""
        return self.pack_locations.get(location) or PackLocation(self.pack.id, location)
