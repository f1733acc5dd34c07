"""Pictures: all that a page needs for an HTML `<picture>` element.

Pure functions over a snapshot and the ledger's rows, without statements or pixels. A srcset offers no size above that
of the image, and every URL is immutable.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape

from packshot.catalog.variants.ledger import Entry, VariantState
from packshot.errors import Invalid, Limit, NotFound, PackshotError
from packshot.geometry import Size
from packshot.model import Format, Location, OnDemand, Original, Snapshot
from packshot.variants.draft import common_format, default_formats, effective_renditions, rendition_form
from packshot.variants.key import Key
from packshot.variants.request import RequestForm
from packshot.variants.resolve import Target, View, is_offered, offered, resolve_in, view_at
from resolvers.urls.build import Urls

MAX_WIDTHS = 32
MAX_SOURCES = 16
# Longest `alt`, `sizes` and `media`, which every element repeats.
MAX_CHARACTERS = 1000
# Browsers take the first source that they support, so the smallest format comes first.
_ORDER = (Format.AVIF, Format.WEBP, Format.GIF, Format.JPEG, Format.PNG)
# The request form of a stable URL without parameters.
_BARE = RequestForm()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedSource:
    """What a page requests of one location.

    Attributes:
        media: media query under which the location is shown; None: always.
        widths: offered widths in pixels; None: those of the location's renditions.
        formats: offered formats; None: the location's.
        sizes: width at which the image is shown, as in HTML; None: the location's width, or the page's if that is
            smaller.
    """

    location: str
    media: str | None = None
    widths: Sequence[int] | None = None
    formats: Sequence[Format] | None = None
    sizes: str | None = None


@dataclass(frozen=True, slots=True)
class PictureSource:
    """One `<source>` element: one format of one location. Width and height are its size at 1x."""

    media_type: str
    media: str | None
    sizes: str
    srcset: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Picture:
    """One `<picture>` element.

    Attributes:
        src: for browsers that support none of the sources; width and height are its size.
        state: READY if every variant is stored, FAILED if one failed.
    """

    src: str
    width: int
    height: int
    sources: tuple[PictureSource, ...]
    thumbhash: str | None
    dominant_color: str | None
    state: VariantState

    def html(self, alt: str, loading: str = "lazy") -> str:
        """Return the element as HTML.

        Raises:
            Invalid: `loading` is neither lazy nor eager.
            Limit: `alt` is too long.
        """
        _check_text(alt, "alt")
        if loading not in ("lazy", "eager"):
            raise Invalid("This is not a loading mode.", field=("loading",), expected="lazy, eager", got=loading)
        image = {"src": self.src, "width": self.width, "height": self.height, "alt": alt, "loading": loading}
        sources = "".join(
            _element(
                "source",
                {
                    "type": source.media_type,
                    "media": source.media,
                    "srcset": source.srcset,
                    "sizes": source.sizes,
                    "width": source.width,
                    "height": source.height,
                },
            )
            for source in self.sources
        )
        return f"<picture>{sources}{_element('img', image)}</picture>"


def _element(name: str, attributes: Mapping[str, object]) -> str:
    given = [f'{key}="{escape(str(value))}"' for key, value in attributes.items() if value is not None]
    return f"<{' '.join([name, *given])}>"


@dataclass(frozen=True, slots=True)
class _Part:
    """The part of one location: its 1x variant, and the offered variants by format and width."""

    request: RequestedSource
    default: Target
    offered: Mapping[Format, Sequence[Target]]

    @property
    def targets(self) -> Iterable[Target]:
        return (target for targets in self.offered.values() for target in targets)


@dataclass(frozen=True, slots=True)
class Layout:
    """The variants of a picture, before their states are known.

    Attributes:
        image: for browsers that support none of the sources.
        signed: keys whose URLs need a signature.
    """

    parts: tuple[_Part, ...]
    image: Target
    signed: frozenset[Key] = frozenset()

    @property
    def targets(self) -> tuple[Target, ...]:
        return (self.image, *(target for part in self.parts for target in part.targets))

    @property
    def keys(self) -> tuple[Key, ...]:
        """The key of every variant, each once."""
        return tuple(dict.fromkeys(target.key for target in self.targets))


def lay_out_location(
    snapshot: Snapshot, request: RequestedSource, *, limit: Size, opened: bool = False
) -> Layout | None:
    """Return the layout of one location; None: it has nothing to show.

    Args:
        opened: unplanned variants are allowed although the tenant's policy demands a signature.

    Raises:
        NotFound: no such location.
        Invalid, Limit: a width out of range, too many widths, or a text too long.
        Forbidden: the tenant's policy does not allow a width or format.
    """
    part = _part(snapshot, request, limit, opened)
    return None if part is None else _layout(snapshot, [part], part.default, limit)


def _layout(snapshot: Snapshot, parts: Sequence[_Part], image: Target, limit: Size) -> Layout:
    layout = Layout(tuple(parts), image)
    if snapshot.tenant.on_demand is not OnDemand.SIGNED:
        return layout
    free = {key for part in parts for key in offered(snapshot, part.request.location, limit=limit)}
    return replace(layout, signed=frozenset(layout.keys) - free)


def lay_out_sources(
    snapshot: Snapshot, sources: Sequence[RequestedSource], *, limit: Size, opened: bool = False
) -> Layout | None:
    """Return the layout of several locations. A browser shows the first one whose media query matches.

    Locations with nothing to show are left out; None: no location remains. The last one without a media query gives
    `src`.

    Raises:
        NotFound: no such location.
        Invalid, Limit: a width out of range, too many items, or a text too long.
        Forbidden: the tenant's policy does not allow a width or format.
    """
    if not 1 <= len(sources) <= MAX_SOURCES:
        raise Limit("Too many sources, or none.", field=("sources",), expected=f"1 to {MAX_SOURCES}", got=len(sources))
    parts = []
    for index, request in enumerate(sources):
        try:
            part = _part(snapshot, request, limit, opened)
        except PackshotError as error:
            raise error.at("sources", str(index)) from None
        if part is not None:
            parts.append(part)
    if not parts:
        return None
    image = next((part for part in reversed(parts) if part.request.media is None), parts[-1]).default
    return _layout(snapshot, parts, image, limit)


def assemble(layout: Layout, entries: Mapping[str, Entry | None], urls: Urls) -> Picture:
    """Return the picture.

    Args:
        entries: the ledger's rows of `layout.keys`, by key; None or absent: no row.
    """
    image = layout.image
    return Picture(
        src=urls.immutable(image.key),
        width=image.drawing.size.width,
        height=image.drawing.size.height,
        sources=tuple(source for part in layout.parts for source in _sources(part, layout.signed, urls)),
        thumbhash=image.original.thumbhash,
        dominant_color=image.original.dominant_color,
        state=_state(layout.targets, entries),
    )


def _sources(part: _Part, signed: frozenset[Key], urls: Urls) -> Iterable[PictureSource]:
    width, height = part.default.drawing.size
    for format in _ORDER:
        if format in part.offered:
            yield PictureSource(
                media_type=format.media_type,
                media=part.request.media,
                sizes=part.request.sizes or f"(max-width: {width}px) 100vw, {width}px",
                srcset=", ".join(
                    f"{urls.immutable(target.key, signed=target.key in signed)} {target.drawing.size.width}w"
                    for target in part.offered[format]
                ),
                width=width,
                height=height,
            )


def _state(targets: Iterable[Target], entries: Mapping[str, Entry | None]) -> VariantState:
    rows = [entries.get(str(target.key)) for target in targets]
    states = {VariantState.PENDING if row is None else row.state for row in rows}
    for state in (VariantState.FAILED, VariantState.PENDING):
        if state in states:
            return state
    return VariantState.READY


def _part(snapshot: Snapshot, request: RequestedSource, limit: Size, opened: bool) -> _Part | None:
    config = snapshot.locations.get(request.location)
    if config is None:
        known = ", ".join(sorted(snapshot.locations))
        raise NotFound(
            f"There is no location {request.location!r}.", field=("location",), expected=known, got=request.location
        )
    _check_widths(request.widths, limit)
    _check_text(request.sizes, "sizes")
    _check_text(request.media, "media")
    view = view_at(snapshot, config.name)
    if view is None:
        return None
    default = _default(view, limit)
    offered: dict[Format, dict[int, Target]] = {}
    forms = _forms(config, request)
    for format in _formats(config, view.shown.original, request):
        for form in forms:
            target = resolve_in(view, form, limit=limit, format=format, opened=opened)
            if request.widths is not None or _same_shape(target, default):
                # Widths above that of the image all yield the image's width, which is offered once.
                offered.setdefault(target.drawing.format, {})[target.drawing.size.width] = target
    if not offered:
        offered[default.drawing.format] = {default.drawing.size.width: default}
    ordered = {format: [targets[width] for width in sorted(targets)] for format, targets in offered.items()}
    return _Part(request, default, ordered)


def _check_text(text: str | None, field: str) -> None:
    if text is not None and len(text) > MAX_CHARACTERS:
        raise Limit(
            f"`{field}` is too long.",
            field=(field,),
            expected=f"up to {MAX_CHARACTERS} characters",
            got=f"{len(text)} characters",
        )


def _check_widths(widths: Sequence[int] | None, limit: Size) -> None:
    if widths is None:
        return
    if not 1 <= len(widths) <= MAX_WIDTHS:
        raise Limit("Too many widths, or none.", field=("widths",), expected=f"1 to {MAX_WIDTHS}", got=len(widths))
    for index, width in enumerate(widths):
        if not 1 <= width <= limit.width:
            raise Invalid(
                "This width is out of range.",
                field=("widths", str(index)),
                expected=f"1 to {limit.width}",
                got=width,
            )


def _default(view: View, limit: Size) -> Target:
    """Return the variant in the location's own size and a format that every browser supports."""
    common = resolve_in(view, _BARE, limit=limit, format=common_format(view.shown.original))
    bare = resolve_in(view, _BARE, limit=limit)
    if bare.key == common.key or bare.drawing.format not in (Format.JPEG, Format.PNG, Format.GIF):
        return common
    # The variant of the bare URL is always planned. This one is planned only if the location has its format.
    made = {target.key for target in view.planned(limit)}
    return common if common.key in made else bare


def _forms(config: Location, request: RequestedSource) -> list[RequestForm]:
    if request.widths is not None:
        return [RequestForm(width=width, location_ratio=True) for width in request.widths]
    return [rendition_form(rendition) for rendition in effective_renditions(config)]


def _formats(config: Location, original: Original, request: RequestedSource) -> Sequence[Format]:
    if request.formats is None:
        return config.formats or default_formats(original)
    # A browser may choose a source whose URL yields nothing, so such formats are left out.
    return [format for format in request.formats if is_offered(format, config, original)]


def _same_shape(target: Target, default: Target) -> bool:
    """Whether two sizes differ only by scale. Sides are whole pixels, so one may be off by one."""
    (width, height), (across, down) = target.drawing.size, default.drawing.size
    return abs(width * down - height * across) <= max(width, height, across, down)
