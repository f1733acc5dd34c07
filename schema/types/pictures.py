"""GraphQL types of pictures (for `<picture>` elements) and variants."""

from datetime import datetime
from typing import Annotated

import strawberry

from packshot.catalog.variants.ledger import Entry
from packshot.ids import IdKind, global_id
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
    strawberry.argument(description="Widths to offer in pixels; by default those of the location's renditions."),
]
Formats = Annotated[list[ImageFormat] | None, strawberry.argument(description="Only these formats; all if absent.")]
Sizes = Annotated[
    str | None,
    strawberry.argument(
        description="The HTML attribute `sizes`: how wide the image is displayed, up to 1,000 characters. By "
        "default the width of the location, or of the page if that is narrower."
    ),
]


@strawberry.type(description="One `<source>` element: one format of one location.")
class PictureSource:
    media_type: str = strawberry.field(description="The attribute `type`, such as image/webp.")
    media: str | None = strawberry.field(
        description="The media query for which this source is used, such as `(min-width: 800px)`; null: always."
    )
    sizes: str | None = strawberry.field(
        description="The attribute `sizes`: how wide the image is displayed, such as 100vw."
    )
    srcset: str = strawberry.field(
        description="The attribute `srcset`: immutable URLs with their widths. Widths beyond the original's are "
        "omitted."
    )
    width: int = strawberry.field(description="Width at a device pixel ratio of 1, for the layout.")
    height: int = strawberry.field(description="Height at a device pixel ratio of 1, for the layout.")


@strawberry.type(description="Everything that a web page needs for one `<picture>` element.")
class Picture:
    src: URL = strawberry.field(description="The immutable URL for browsers that support none of the sources.")
    width: int = strawberry.field(description="Width of `src` in pixels.")
    height: int = strawberry.field(description="Height of `src` in pixels.")
    sources: list[PictureSource] = strawberry.field(
        description="The `<source>` elements, in the order in which browsers try them."
    )
    thumbhash: str | None = strawberry.field(
        description="The ThumbHash of the original in Base64, as a placeholder while the image loads."
    )
    dominant_color: str | None = strawberry.field(description="The dominant colour of the original, such as #3a5f7d.")
    state: VariantState = strawberry.field(
        description="READY if every variant in it is stored, FAILED if any failed, otherwise PENDING."
    )
    core: strawberry.Private[pictures.Picture]

    @strawberry.field(description="The `<picture>` element as HTML.")
    async def html(
        self,
        alt: Annotated[
            str,
            strawberry.argument(
                description="A text alternative for people who cannot see the image; up to 1,000 characters."
            ),
        ],
        loading: Annotated[str, strawberry.argument(description="The attribute `loading`: lazy or eager.")] = "lazy",
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


@strawberry.input(description="One location of a picture that shows different locations for different media queries.")
class PictureSourceInput:
    location: str = strawberry.field(description="The name of the location.")
    media: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="The media query for which it is shown, such as `(min-width: 800px)`, up to 1,000 characters; if "
        "absent, always.",
    )
    widths: list[int] | None = strawberry.field(
        default=strawberry.UNSET,
        description="Widths to offer in pixels; by default those of the location's renditions.",
    )
    formats: list[ImageFormat] | None = strawberry.field(
        default=strawberry.UNSET, description="Formats to offer; by default those of the location."
    )
    sizes: str | None = strawberry.field(
        default=strawberry.UNSET,
        description="The HTML attribute `sizes`: how wide the image is displayed, such as 100vw, up to 1,000 "
        "characters.",
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
    """Return what a page requests, with its optional arguments as they came."""
    chosen = given(formats)
    return pictures.RequestedSource(
        location=location,
        media=media,
        widths=given(widths),
        formats=None if chosen is None else [core(format) for format in chosen],
        sizes=given(sizes),
    )


@strawberry.type(
    description="One image of a pack location in one size, format and quality: stored, or not rendered yet."
)
class Variant(Node):
    format: ImageFormat = strawberry.field(description="Its format.")
    width: int = strawberry.field(description="Width in pixels.")
    height: int = strawberry.field(description="Height in pixels.")
    bytes: Long | None = strawberry.field(description="Its length in bytes; null until it is stored.")
    url: URL = strawberry.field(
        description="Its immutable URL. A variant that is not stored yet is rendered on demand."
    )
    upscaled: bool = strawberry.field(
        description="Whether the image is enlarged beyond the original's own pixels; false if the variant is "
        "superseded."
    )
    state: VariantState = strawberry.field(description="The state of the variant.")
    error: str | None = strawberry.field(description="Why the last attempt failed.")
    rendered_at: datetime | None = strawberry.field(description="When it was stored.")

    @classmethod
    def of(cls, key: Key, entry: Entry | None, urls: Urls, *, upscaled: bool) -> "Variant":
        """Return the GraphQL value. A planned variant without a row is pending."""
        return cls(
            id=strawberry.ID(global_id(IdKind.VARIANT, str(key).partition("/")[2])),
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
