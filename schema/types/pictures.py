"""Pictures and variants: what a page shows, and what stands behind it."""

from datetime import datetime
from typing import Annotated

import strawberry

from packshot.catalog.variants.ledger import Entry
from packshot.variants.key import Key
from resolvers import pictures
from resolvers.urls.build import Urls
from schema.base.enums import ImageFormat, VariantState, core
from schema.base.inputs import given
from schema.base.interfaces import Node
from schema.base.refusals import refusing
from schema.base.scalars import URL, Long

Widths = Annotated[
    list[int] | None,
    strawberry.argument(description="Widths in pixels to offer; without them the location's renditions."),
]
Formats = Annotated[list[ImageFormat] | None, strawberry.argument(description="Only these formats; all without it.")]
Sizes = Annotated[
    str | None,
    strawberry.argument(
        description="How wide the picture will be shown, as in HTML, in up to 1,000 characters; "
        "without it as wide as the location, or as the page where that is narrower."
    ),
]


@strawberry.type(description="One source element of a picture: one format of one location.")
class PictureSource:
    media_type: str = strawberry.field(description="The format, for `type`.")
    media: str | None = strawberry.field(description="The media query under which this source is shown.")
    sizes: str | None = strawberry.field(description="How wide the picture will be shown.")
    srcset: str = strawberry.field(
        description="Immutable URLs with their widths; widths that the original does not have are left out."
    )
    width: int = strawberry.field(description="Width at a dpr of 1, for the layout.")
    height: int = strawberry.field(description="Height at a dpr of 1, for the layout.")


@strawberry.type(description="Everything a page needs for one picture element.")
class Picture:
    src: URL = strawberry.field(description="For browsers that know none of the sources; immutable.")
    width: int = strawberry.field(description="Width of `src` in pixels.")
    height: int = strawberry.field(description="Height of `src` in pixels.")
    sources: list[PictureSource] = strawberry.field(description="In the order in which browsers are to try them.")
    thumbhash: str | None = strawberry.field(description="The original's ThumbHash in Base64, to show meanwhile.")
    dominant_color: str | None = strawberry.field(description="The original's dominant colour, #rrggbb.")
    state: VariantState = strawberry.field(
        description="READY when every variant in it is stored, FAILED when any failed, else PENDING."
    )
    core: strawberry.Private[pictures.Picture]

    @strawberry.field(description="The same as an HTML element.")
    async def html(
        self,
        alt: Annotated[
            str,
            strawberry.argument(description="What the picture shows, for who cannot see it; up to 1,000 characters."),
        ],
        loading: Annotated[str, strawberry.argument(description="lazy or eager.")] = "lazy",
    ) -> str:
        with refusing():
            return self.core.html(alt, loading)

    @classmethod
    def of(cls, picture: pictures.Picture) -> "Picture":
        return cls(
            src=URL(picture.src),
            width=picture.width,
            height=picture.height,
            sources=[
                PictureSource(
                    media_type=source.media_type,
                    media=source.media,
                    sizes=source.sizes,
                    srcset=source.srcset,
                    width=source.width,
                    height=source.height,
                )
                for source in picture.sources
            ],
            thumbhash=picture.thumbhash,
            dominant_color=picture.dominant_color,
            state=VariantState[picture.state.name],
            core=picture,
        )


@strawberry.input(description="One location of a picture that shows different locations under different media queries.")
class PictureSourceInput:
    location: str = strawberry.field(description="Which location.")
    media: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="The media query under which it is shown, up to 1,000 characters; always without one.",
    )
    widths: list[int] | None = strawberry.field(
        default=strawberry.UNSET, description="Widths in pixels to offer; without them the location's renditions."
    )
    formats: list[ImageFormat] | None = strawberry.field(
        default=strawberry.UNSET, description="Formats to offer; without them the location's."
    )
    sizes: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="How wide the picture will be shown, as in HTML, in up to 1,000 characters.",
    )

    def to_core(self) -> pictures.RequestedSource:
        return wanted(self.location, self.widths, self.formats, self.sizes, given(self.media))


def wanted(
    location: str,
    widths: list[int] | None,
    formats: list[ImageFormat] | None,
    sizes: str | None,
    media: str | None = None,
) -> pictures.RequestedSource:
    """Return what a page asks for, its optional arguments as they came."""
    chosen = given(formats)
    return pictures.RequestedSource(
        location=location,
        media=media,
        widths=given(widths),
        formats=None if chosen is None else [core(format) for format in chosen],
        sizes=given(sizes),
    )


@strawberry.type(description="One rendered picture, or one still to be rendered.")
class Variant(Node):
    format: ImageFormat = strawberry.field(description="Its format.")
    width: int = strawberry.field(description="Width in pixels.")
    height: int = strawberry.field(description="Height in pixels.")
    bytes: Long | None = strawberry.field(description="Its length; null before it is stored.")
    url: URL = strawberry.field(description="Immutable; one that is not stored yet is rendered on demand.")
    upscaled: bool = strawberry.field(
        description="Whether the picture is enlarged beyond its own pixels; false where another has replaced it."
    )
    state: VariantState = strawberry.field(description="How it stands.")
    error: str | None = strawberry.field(description="Why the last try failed.")
    rendered_at: datetime | None = strawberry.field(description="When it was stored.")

    @classmethod
    def of(cls, key: Key, entry: Entry | None, urls: Urls, *, upscaled: bool) -> "Variant":
        """Return the GraphQL value; a planned variant without a row is pending."""
        return cls(
            id=strawberry.ID(f"variant:{key.pack}/{key.location}/{key.fingerprint}/{key.plan}"),
            format=ImageFormat[key.plan.format.name],
            width=key.plan.width,
            height=key.plan.height,
            bytes=None if entry is None or entry.bytes is None else Long(entry.bytes),
            url=URL(urls.immutable(key)),
            upscaled=upscaled,
            state=VariantState.PENDING if entry is None else VariantState[entry.state.name],
            error=None if entry is None else entry.error,
            rendered_at=None if entry is None else entry.rendered_at,
        )
