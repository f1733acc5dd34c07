"""GraphQL types of packs and their pack locations."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated

import strawberry

from packshot import model
from packshot.errors import NotFound
from packshot.ids import IdKind, global_id
from packshot.variants.request import RequestForm
from packshot.variants.resolve import planned, policy_for, resolve, source_of
from resolvers.originals import sign_original
from resolvers.pictures import Layout, lay_out_location, lay_out_sources
from schema.base.enums import Gravity, IncludeAll, core, graphql_gravity
from schema.base.inputs import given
from schema.base.interfaces import Node
from schema.base.refusals import refusing
from schema.base.scalars import URL, Long
from schema.request.context import Info
from schema.types.locations import ImageLocation
from schema.types.pictures import Formats, Picture, PictureSourceInput, Sizes, Variant, Widths, wanted


@strawberry.type(
    description="A rectangle on the upright original; coordinates from 0.0 (left, top) to 1.0 (right, bottom)."
)
class Crop:
    top_left_x: float = strawberry.field(description="The left edge.")
    top_left_y: float = strawberry.field(description="The top edge.")
    bottom_right_x: float = strawberry.field(description="The right edge.")
    bottom_right_y: float = strawberry.field(description="The bottom edge.")


@strawberry.type(
    description="The focus: the point of the upright original that a crop should keep; coordinates from 0.0 (left, "
    "top) to 1.0."
)
class Focus:
    x: float = strawberry.field(description="Distance from the left edge, as a fraction of the width.")
    y: float = strawberry.field(description="Distance from the top edge, as a fraction of the height.")


@strawberry.type(description="An uploaded image file, identified by its content.")
class Original:
    sha256: str = strawberry.field(description="SHA-256 of its bytes, 64 hex digits.")
    width: int = strawberry.field(description="Width of the upright image in pixels.")
    height: int = strawberry.field(description="Height of the upright image in pixels.")
    bytes: Long = strawberry.field(description="The size of the file in bytes.")
    media_type: str = strawberry.field(
        description="The media type that its bytes show, such as image/jpeg; the announced one does not count."
    )
    frames: int = strawberry.field(description="The number of frames; 1 unless it is animated.")
    thumbhash: str | None = strawberry.field(
        description="Its ThumbHash in Base64, as a placeholder while the image loads."
    )
    dominant_color: str | None = strawberry.field(description="Its dominant colour, such as #3a5f7d.")
    uploaded_at: datetime = strawberry.field(description="When it was set at this location.")
    core: strawberry.Private[model.Original]

    @strawberry.field(description="A URL of the unchanged file. Anyone who has it can read the file for 15 minutes.")
    async def url(self, info: Info) -> URL:
        caller = info.context.caller
        return URL(await info.context.loaders.compute(lambda: sign_original(caller, self.core)))

    @classmethod
    def of(cls, original: model.Original, at: datetime) -> "Original":
        return cls(
            sha256=original.sha256,
            width=original.width,
            height=original.height,
            bytes=Long(original.bytes),
            media_type=original.media_type,
            frames=original.frames,
            thumbhash=original.thumbhash,
            dominant_color=original.dominant_color,
            uploaded_at=at,
            core=original,
        )


@strawberry.type(description="The settings that apply after overrides and defaults, and the level that sets each.")
class EffectivePolicy:
    resize_gravity: Gravity = strawberry.field(description="Which part of the image a crop keeps.")
    resize_gravity_from: str = strawberry.field(
        description="The level that sets it: packLocation, pack, location or tenant."
    )
    include_all: bool = strawberry.field(description="Whether the whole image is shown, padded.")
    include_all_from: str = strawberry.field(
        description="The level that sets it: packLocation, pack, location or tenant."
    )


async def _picture(info: Info, lay_out: Callable[[], Layout | None]) -> Picture | None:
    with refusing():
        picture = await info.context.loaders.pictures.load(lay_out)
    return None if picture is None else Picture.of(picture)


@strawberry.type(description="The originals of one asset, and their settings at each location.")
class Pack(Node):
    version: int = strawberry.field(description="Counts changes; for `expectedVersion`.")
    sequence_number: Long = strawberry.field(
        description="The tenant's sequence number at the last change of this pack; each later change has a higher one."
    )
    asset_id: Long | None = strawberry.field(
        description="The number of the asset, such as 4711; unique within the tenant."
    )
    external_id: str | None = strawberry.field(
        description="Its id in another system, such as `film-4711`; unique within the tenant."
    )
    main_location: str | None = strawberry.field(
        description="The location that a URL without `location` shows. Other locations without an original use its "
        "original. Null: `main`."
    )
    resize_gravity: Gravity | None = strawberry.field(
        description="Which part of the image a crop keeps; null: the location decides."
    )
    use_resize_include_all: IncludeAll = strawberry.field(
        description="Whether the whole image is shown, padded; UNSET: the location decides."
    )
    created_at: datetime = strawberry.field(description="When it was created.")
    modified_at: datetime = strawberry.field(description="When it was last modified.")

    @strawberry.field(
        description="Every location of the tenant, by name; `source` is null if this pack has nothing to show there."
    )
    async def locations(self, info: Info) -> list["PackLocation"]:
        snapshot = await info.context.loaders.snapshots.load(self.id)
        return [] if snapshot is None else [PackLocation.of(snapshot, name) for name in sorted(snapshot.locations)]

    @strawberry.field(description="One location of this pack; null if the tenant has no such location.")
    async def location(
        self, info: Info, name: Annotated[str, strawberry.argument(description="The name of the location.")]
    ) -> "PackLocation | None":
        snapshot = await info.context.loaders.snapshots.load(self.id)
        return None if snapshot is None or name not in snapshot.locations else PackLocation.of(snapshot, name)

    @strawberry.field(
        description="The URL that always shows the current image, such as "
        "`https://…/api/v2/img/62e89a0ce4b0003c6f22b5a3`. It never "
        "changes. Append `?location=thumb` for a location."
    )
    def stable_url(self, info: Info) -> URL:
        return URL(info.context.caller.urls.stable(self.id))

    @strawberry.field(
        description="A picture with different locations for different media queries; null if none has anything to show."
    )
    async def picture(
        self,
        info: Info,
        sources: Annotated[
            list[PictureSourceInput],
            strawberry.argument(description="In order; the last source without a media query provides `src`."),
        ],
    ) -> Picture | None:
        caller, loaders = info.context.caller, info.context.loaders
        snapshot = await loaders.snapshots.load(self.id)
        if snapshot is None:
            return None
        asked, limit = [source.to_core() for source in sources], caller.site.limit
        return await _picture(info, partial(lay_out_sources, snapshot, asked, limit=limit, opened=caller.can_sign))

    @classmethod
    def of(cls, pack: model.Pack) -> "Pack":
        return cls(
            id=strawberry.ID(pack.id),
            version=pack.version,
            sequence_number=Long(pack.sequence_number),
            asset_id=None if pack.asset_id is None else Long(pack.asset_id),
            external_id=pack.external_id,
            main_location=pack.main_location,
            resize_gravity=graphql_gravity(pack.resize_gravity),
            use_resize_include_all=IncludeAll[pack.include_all.name],
            created_at=pack.created_at,
            modified_at=pack.modified_at,
        )


@strawberry.type(description="One pack at one location: its own original if it has one, its overrides, its variants.")
class PackLocation(Node):
    version: int = strawberry.field(description="Counts changes; 0 if nothing was ever set.")
    name: str = strawberry.field(description="The name of the location.")
    location: ImageLocation = strawberry.field(description="The location.")
    pack: Pack = strawberry.field(description="The pack.")
    original: Original | None = strawberry.field(description="The pack's own original here.")
    source: str | None = strawberry.field(
        description="The name of the location whose original is shown here, after following fallbacks; null if there "
        "is none."
    )
    crop: Crop | None = strawberry.field(description="The crop set here; null: the crop of `source` applies.")
    focus: Focus | None = strawberry.field(description="The focus set here; null: the focus of `source` applies.")
    resize_gravity: Gravity | None = strawberry.field(
        description="Which part of the image a crop keeps; null: the pack decides."
    )
    use_resize_include_all: IncludeAll = strawberry.field(
        description="Whether the whole image is shown, padded; UNSET: the pack decides."
    )
    snapshot: strawberry.Private[model.Snapshot]

    @strawberry.field(description="The settings that apply here, after overrides and defaults.")
    def effective(self) -> EffectivePolicy:
        policy = policy_for(self.snapshot, self.name)
        return EffectivePolicy(
            resize_gravity=Gravity[policy.gravity.name],
            resize_gravity_from=policy.gravity_from,
            include_all=policy.include_all,
            include_all_from=policy.include_all_from,
        )

    @strawberry.field(description="The URL that always shows the current image here. It never changes.")
    def stable_url(self, info: Info) -> URL:
        return URL(info.context.caller.urls.stable(self.pack.id, self.name))

    @strawberry.field(
        description="The immutable URL of what `stableUrl` currently shows; null if there is nothing to show."
    )
    def current_url(self, info: Info) -> URL | None:
        caller = info.context.caller
        try:
            target = resolve(self.snapshot, RequestForm(location=self.name), limit=caller.site.limit)
        except NotFound:
            return None
        return URL(caller.urls.immutable(target.key))

    @strawberry.field(description="The planned variants here, with their states.")
    async def variants(self, info: Info, formats: Formats = strawberry.UNSET) -> list[Variant]:
        caller, loaders, chosen = info.context.caller, info.context.loaders, given(formats)
        wanted_formats = None if chosen is None else {core(format) for format in chosen}
        targets = await loaders.compute(lambda: planned(self.snapshot, self.name, limit=caller.site.limit))
        shown = [one for one in targets if wanted_formats is None or one.drawing.format in wanted_formats]
        entries = await loaders.entries.load([target.key for target in shown])
        return [
            Variant.of(target.key, entries.get(str(target.key)), caller.urls, upscaled=target.upscaled)
            for target in shown
        ]

    @strawberry.field(
        description="Everything that a web page needs for one `<picture>` element; null if there is nothing to show."
    )
    async def picture(
        self,
        info: Info,
        widths: Widths = strawberry.UNSET,
        formats: Formats = strawberry.UNSET,
        sizes: Sizes = strawberry.UNSET,
    ) -> Picture | None:
        caller, asked = info.context.caller, wanted(self.name, widths, formats, sizes)
        limit, opened = caller.site.limit, caller.can_sign
        return await _picture(info, partial(lay_out_location, self.snapshot, asked, limit=limit, opened=opened))

    @classmethod
    def of(cls, snapshot: model.Snapshot, name: str) -> "PackLocation":
        """Return the GraphQL value of a pack at one location of the tenant."""
        pack_location, pack = snapshot.pack_location(name), snapshot.pack
        crop, focus = pack_location.crop, pack_location.focus
        return cls(
            id=strawberry.ID(global_id(IdKind.PACK_LOCATION, pack.id, name)),
            version=pack_location.version,
            name=name,
            location=ImageLocation.of(snapshot.locations[name]),
            pack=Pack.of(pack),
            original=None
            if pack_location.original is None
            else Original.of(pack_location.original, pack_location.original_at or pack.modified_at),
            source=source_of(snapshot, name)[0],
            crop=None
            if crop is None
            else Crop(top_left_x=crop.left, top_left_y=crop.top, bottom_right_x=crop.right, bottom_right_y=crop.bottom),
            focus=None if focus is None else Focus(x=focus.x, y=focus.y),
            resize_gravity=graphql_gravity(pack_location.resize_gravity),
            use_resize_include_all=IncludeAll[pack_location.include_all.name],
            snapshot=snapshot,
        )
