"""Packs and their pack locations."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated

import strawberry

from packshot import model
from packshot.errors import NotFound
from packshot.variants.request import RequestForm
from packshot.variants.resolve import planned, policy_for, resolve, source_of
from resolvers.originals import sign_original
from resolvers.pictures import Layout, layout_at, layout_of
from schema.base.enums import Gravity, IncludeAll, core, graphql_gravity
from schema.base.inputs import given
from schema.base.interfaces import Node
from schema.base.refusals import refusing
from schema.base.scalars import URL, Long
from schema.request.context import Info
from schema.types.locations import ImageLocation
from schema.types.pictures import Formats, Picture, PictureSourceInput, Sizes, Variant, Widths, wanted


@strawberry.type(description="A rectangle of the upright original: one edge is 0.0, the opposite edge 1.0.")
class Crop:
    top_left_x: float = strawberry.field(description="The left edge.")
    top_left_y: float = strawberry.field(description="The upper edge.")
    bottom_right_x: float = strawberry.field(description="The right edge.")
    bottom_right_y: float = strawberry.field(description="The lower edge.")


@strawberry.type(description="The focal point on the upright original, each coordinate from 0.0 to 1.0.")
class Focus:
    x: float = strawberry.field(description="From the left edge.")
    y: float = strawberry.field(description="From the upper edge.")


@strawberry.type(description="An uploaded picture, known by its content.")
class Original:
    sha256: str = strawberry.field(description="SHA-256 of its bytes, in hex.")
    width: int = strawberry.field(description="Width of the upright picture in pixels.")
    height: int = strawberry.field(description="Height of the upright picture in pixels.")
    bytes: Long = strawberry.field(description="Its length.")
    media_type: str = strawberry.field(description="What the bytes are, regardless of what was announced.")
    frames: int = strawberry.field(description="1 unless it is animated.")
    thumbhash: str | None = strawberry.field(description="Its ThumbHash in Base64, to show meanwhile.")
    dominant_color: str | None = strawberry.field(description="Its dominant colour, #rrggbb.")
    uploaded_at: datetime = strawberry.field(description="When it was put here.")
    core: strawberry.Private[model.Original]

    @strawberry.field(description="Where its very bytes can be read, by anybody who has the address: for 15 minutes.")
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


@strawberry.type(description="What applies after resolution, and where each value came from.")
class EffectivePolicy:
    resize_gravity: Gravity = strawberry.field(description="Where a crop is anchored.")
    resize_gravity_from: str = strawberry.field(description="packLocation, pack, location or tenant.")
    include_all: bool = strawberry.field(description="Whether the whole picture is shown.")
    include_all_from: str = strawberry.field(description="packLocation, pack, location or tenant.")


async def _picture(info: Info, lay_out: Callable[[], Layout | None]) -> Picture | None:
    with refusing():
        picture = await info.context.loaders.pictures.load(lay_out)
    return None if picture is None else Picture.of(picture)


@strawberry.type(description="The originals of one asset, and what holds for all of them.")
class Pack(Node):
    version: int = strawberry.field(description="Counts changes, for `expectedVersion`.")
    sequence_number: Long = strawberry.field(description="Rises with every change of any pack of the tenant.")
    asset_id: Long | None = strawberry.field(description="The asset it belongs to; unique within the tenant.")
    external_id: str | None = strawberry.field(description="What another system calls it; unique within the tenant.")
    main_location: str | None = strawberry.field(description="The location shown where none is asked for.")
    resize_gravity: Gravity | None = strawberry.field(
        description="Where a crop is anchored; null: the location decides."
    )
    use_resize_include_all: IncludeAll = strawberry.field(
        description="Whether the whole picture is shown; UNSET: the location decides."
    )
    created_at: datetime = strawberry.field(description="When it was created.")
    modified_at: datetime = strawberry.field(description="When it was last changed.")

    @strawberry.field(
        description="Every location of the tenant, by name; `source` is null where this pack has nothing to show."
    )
    async def locations(self, info: Info) -> list["PackLocation"]:
        snapshot = await info.context.loaders.snapshots.load(self.id)
        return [] if snapshot is None else [PackLocation.of(snapshot, name) for name in sorted(snapshot.locations)]

    @strawberry.field(description="One location of this pack; null: the tenant has no such location.")
    async def location(
        self, info: Info, name: Annotated[str, strawberry.argument(description="The location's name.")]
    ) -> "PackLocation | None":
        snapshot = await info.context.loaders.snapshots.load(self.id)
        return None if snapshot is None or name not in snapshot.locations else PackLocation.of(snapshot, name)

    @strawberry.field(description="Where what it shows now is always found. Add ?location=… to it. Never changes.")
    def stable_url(self, info: Info) -> URL:
        return URL(info.context.caller.urls.stable(self.id))

    @strawberry.field(
        description="Different locations under different media queries; null where none has anything to show."
    )
    async def picture(
        self,
        info: Info,
        sources: Annotated[
            list[PictureSourceInput],
            strawberry.argument(description="In order; the last one without a media query gives `src`."),
        ],
    ) -> Picture | None:
        caller, loaders = info.context.caller, info.context.loaders
        snapshot = await loaders.snapshots.load(self.id)
        if snapshot is None:
            return None
        asked, limit = [source.to_core() for source in sources], caller.site.limit
        return await _picture(info, partial(layout_of, snapshot, asked, limit=limit, opened=caller.can_sign))

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


@strawberry.type(description="One location of one pack: its own original if it has one, its overrides, its variants.")
class PackLocation(Node):
    version: int = strawberry.field(description="Counts changes; 0 where nothing was ever set.")
    name: str = strawberry.field(description="The location's name.")
    location: ImageLocation = strawberry.field(description="The location.")
    pack: Pack = strawberry.field(description="The pack.")
    original: Original | None = strawberry.field(description="The pack's own original here.")
    source: str | None = strawberry.field(
        description="The location whose original is shown here, after the fallback chain; null: nothing is."
    )
    crop: Crop | None = strawberry.field(description="The crop set here; null: that of `source` applies.")
    focus: Focus | None = strawberry.field(description="The focal point set here; null: that of `source` applies.")
    resize_gravity: Gravity | None = strawberry.field(description="Where a crop is anchored; null: the pack decides.")
    use_resize_include_all: IncludeAll = strawberry.field(
        description="Whether the whole picture is shown; UNSET: the pack decides."
    )
    snapshot: strawberry.Private[model.Snapshot]

    @strawberry.field(description="What applies after resolution.")
    def effective(self) -> EffectivePolicy:
        policy = policy_for(self.snapshot, self.name)
        return EffectivePolicy(
            resize_gravity=Gravity[policy.gravity.name],
            resize_gravity_from=policy.gravity_from,
            include_all=policy.include_all,
            include_all_from=policy.include_all_from,
        )

    @strawberry.field(description="Where what is shown here now is always found. Never changes.")
    def stable_url(self, info: Info) -> URL:
        return URL(info.context.caller.urls.stable(self.pack.id, self.name))

    @strawberry.field(description="What `stableUrl` gives now. Immutable; null where there is nothing to show.")
    def current_url(self, info: Info) -> URL | None:
        caller = info.context.caller
        try:
            target = resolve(self.snapshot, RequestForm(location=self.name), limit=caller.site.limit)
        except NotFound:
            return None
        return URL(caller.urls.immutable(target.key))

    @strawberry.field(description="What is rendered ahead of time here, and how each stands.")
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
        description="Everything a page needs for one picture element; null where there is nothing to show."
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
        return await _picture(info, partial(layout_at, self.snapshot, asked, limit=limit, opened=opened))

    @classmethod
    def of(cls, snapshot: model.Snapshot, name: str) -> "PackLocation":
        """Return the GraphQL value of one location of a pack; the tenant has it."""
        pack_location, pack = snapshot.pack_location(name), snapshot.pack
        crop, focus = pack_location.crop, pack_location.focus
        return cls(
            id=strawberry.ID(f"packLocation:{pack.id}:{name}"),
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
