"""Locations: the tenant-wide named slots."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from packshot import model
from packshot.catalog.database.pages import check_first
from packshot.variants import demand as variants
from packshot.variants.decimals import round_number
from packshot.variants.draft import DEFAULT_FORMATS, effective_renditions
from resolvers import locations
from schema.base.enums import Gravity, ImageFormat, IncludeAll, graphql_gravity
from schema.base.inputs import given, sent
from schema.base.interfaces import Node
from schema.base.paging import After, Connection, First, connect
from schema.base.refusals import read, refusing
from schema.base.scalars import Long
from schema.request.context import Info

if TYPE_CHECKING:
    from schema.types.jobs import Job


def location_id(name: str) -> strawberry.ID:
    """Return the global id of a location."""
    return strawberry.ID(f"location:{name}")


@strawberry.type(description="A size that is rendered ahead of time.")
class Rendition:
    width: int | None = strawberry.field(description="Pixels at a dpr of 1; null: it follows the location's ratio.")
    height: int | None = strawberry.field(description="Pixels at a dpr of 1; null: it follows the location's ratio.")
    dpr: float = strawberry.field(description="Device pixel ratio; multiplies both sides.")


@strawberry.type(
    description="What clients ask for at a location by its stable URLs and is not rendered ahead of time."
    " Where `parameters` is empty, `addRendition` with these numbers changes that."
)
class Demand:
    width: int | None = strawberry.field(description="Pixels at a dpr of 1; null: it follows the ratio.")
    height: int | None = strawberry.field(description="Pixels at a dpr of 1; null: it follows the ratio.")
    dpr: float = strawberry.field(description="Device pixel ratio; multiplies both sides.")
    parameters: str = strawberry.field(
        description="What the URLs say that no rendition of this size does, as a query string in normal form."
    )
    format: ImageFormat = strawberry.field(description="What was drawn.")
    requests: Long = strawberry.field(
        description="How often that had to be rendered; what is stored already is not counted."
    )
    last_requested_at: datetime = strawberry.field(description="When that was last.")

    @classmethod
    def of(cls, demand: variants.Demand) -> "Demand":
        return cls(
            width=demand.width,
            height=demand.height,
            dpr=demand.dpr,
            parameters=demand.parameters,
            format=ImageFormat[demand.format.name],
            requests=Long(demand.requests),
            last_requested_at=demand.last_requested_at,
        )


def _renditions(held: model.Location | model.LocationVersion) -> list[Rendition]:
    return [Rendition(width=item.width, height=item.height, dpr=item.dpr) for item in effective_renditions(held)]


def _formats(held: model.Location | model.LocationVersion) -> list[ImageFormat]:
    return [ImageFormat[item.name] for item in held.formats or DEFAULT_FORMATS]


@strawberry.type(description="What a location was, is, or is about to be; see `ImageLocation` for the fields.")
class LocationVersion:
    version: int = strawberry.field(description="Which version; of one that is prepared, the one it will be.")
    label: str | None = strawberry.field(description="What people call it.")
    width: int | None = strawberry.field(description="Default width in pixels.")
    height: int | None = strawberry.field(description="Default height in pixels.")
    fallback: str | None = strawberry.field(description="The name of the location whose picture is shown instead.")
    resize_gravity: Gravity | None = strawberry.field(description="Where a crop is anchored.")
    use_resize_include_all: IncludeAll = strawberry.field(description="Whether the whole picture is shown.")
    allow_upscale: bool = strawberry.field(description="Whether a picture may be enlarged.")
    renditions: list[Rendition] = strawberry.field(description="What is rendered ahead of time.")
    formats: list[ImageFormat] = strawberry.field(description="In which formats that is.")
    active_from: datetime | None = strawberry.field(description="When it went live; null: it is being prepared.")
    active_to: datetime | None = strawberry.field(description="When another version took its place; null: it is live.")
    changed_by: str | None = strawberry.field(description="Who asked for it.")
    free_until: datetime | None = strawberry.field(
        description="Until then going back to it renders only packs that were edited or made since; "
        "null: it was not replaced yet, or everything was rendered again since."
    )

    @classmethod
    def of(cls, version: model.LocationVersion, grace: timedelta) -> "LocationVersion":
        return cls(
            version=version.version,
            label=version.label,
            width=version.width,
            height=version.height,
            fallback=version.fallback,
            resize_gravity=graphql_gravity(version.resize_gravity),
            use_resize_include_all=IncludeAll[version.include_all.name],
            allow_upscale=version.allow_upscale,
            renditions=_renditions(version),
            formats=_formats(version),
            active_from=version.active_from,
            active_to=version.active_to,
            changed_by=version.changed_by,
            free_until=None if version.active_to is None or version.revert_renders_all else version.active_to + grace,
        )


@strawberry.type(description="A tenant-wide named slot with a default size and resize behaviour.")
class ImageLocation(Node):
    version: int = strawberry.field(description="Counts changes, for `expectedVersion`.")
    name: str = strawberry.field(description="What URLs call it: lower-case letters, digits and hyphens.")
    label: str | None = strawberry.field(description="What people call it.")
    width: int | None = strawberry.field(description="Default width in pixels; null: it follows the picture's ratio.")
    height: int | None = strawberry.field(description="Default height in pixels; null: it follows the picture's ratio.")
    resize_gravity: Gravity | None = strawberry.field(description="Where a crop is anchored; null: the tenant decides.")
    use_resize_include_all: IncludeAll = strawberry.field(
        description="Whether the whole picture is shown; UNSET: the tenant decides."
    )
    allow_upscale: bool = strawberry.field(description="Whether a picture may be enlarged beyond its own pixels.")
    renditions: list[Rendition] = strawberry.field(
        description="What is rendered ahead of time, besides the default size."
    )
    formats: list[ImageFormat] = strawberry.field(
        description="In which formats that is; JPEG stands for PNG where a picture with transparency needs it."
    )
    added_at: datetime = strawberry.field(description="When it was created.")
    updated_at: datetime = strawberry.field(description="When its present version went live.")
    fallback_name: strawberry.Private[str | None]
    core: strawberry.Private[model.Location]

    @strawberry.field(description="The location whose picture is shown where a pack has none here.")
    async def fallback(self, info: Info) -> "ImageLocation | None":
        if self.fallback_name is None:
            return None
        found = await info.context.loaders.locations.load(self.fallback_name)
        return None if found is None else ImageLocation.of(found)

    @strawberry.field(description="How many packs have an original of their own here.")
    async def pack_count(self, info: Info) -> int:
        return await info.context.loaders.pack_counts.load(self.name) or 0

    @strawberry.field(
        description="What clients ask for here and is not rendered ahead of time, most requested first."
        " `regenerate` renders the most popular of it too."
    )
    async def demand(self, info: Info, first: First = 10) -> list[Demand]:
        with refusing():
            check_first(first)
        found = await info.context.loaders.demand.load(self.name) or []
        return [Demand.of(one) for one in found[:first]]

    @strawberry.field(description="What it is about to be, while a change is being prepared.")
    async def pending(self, info: Info) -> LocationVersion | None:
        pending_change = await info.context.loaders.pending_change.load("")
        version = None if pending_change is None else locations.pending_version(pending_change, self.core)
        return None if version is None else LocationVersion.of(version, info.context.caller.site.settings.grace)

    @strawberry.field(description="The job that prepares that change.")
    async def pending_job(self, info: Info) -> Annotated["Job", strawberry.lazy("schema.types.jobs")] | None:
        from schema.types.jobs import Job

        pending_change = await info.context.loaders.pending_change.load("")
        if pending_change is None or not locations.is_pending(pending_change, self.name):
            return None
        job = await info.context.loaders.jobs.load(pending_change.job_id)
        return None if job is None else Job.of(job)

    @strawberry.field(description="What it is and was, the live version first; `rollbackLocation` goes back to one.")
    async def history(
        self, info: Info, first: First = 10, after: After = strawberry.UNSET
    ) -> Connection[LocationVersion]:
        caller, name = info.context.caller, self.name
        page = await read(info, lambda: locations.list_versions(caller, name, first=first, after=given(after)))
        return connect(page, lambda version: LocationVersion.of(version, caller.site.settings.grace))

    @classmethod
    def of(cls, location: model.Location) -> "ImageLocation":
        """Return the GraphQL value; unset renditions and formats are shown as what they default to."""
        return cls(
            id=location_id(location.name),
            version=location.version,
            name=location.name,
            label=location.label,
            width=location.width,
            height=location.height,
            resize_gravity=graphql_gravity(location.resize_gravity),
            use_resize_include_all=IncludeAll[location.include_all.name],
            allow_upscale=location.allow_upscale,
            renditions=_renditions(location),
            formats=_formats(location),
            added_at=location.added_at,
            updated_at=location.updated_at,
            fallback_name=location.fallback,
            core=location,
        )


@strawberry.input(description="A size to render ahead of time; it needs a width or a height.")
class RenditionInput:
    width: int | None = strawberry.field(default=strawberry.UNSET, description="Pixels at a dpr of 1.")
    height: int | None = strawberry.field(default=strawberry.UNSET, description="Pixels at a dpr of 1.")
    dpr: float = strawberry.field(default=1, description="Device pixel ratio, from 0.5 to 4; rounded to nine decimals.")

    def to_core(self) -> model.Rendition:
        return model.Rendition(given(self.width), given(self.height), round_number(self.dpr))


@strawberry.input(
    description="A new location needs a width or a height. Absent leaves a value as it is, null clears it."
)
class LocationInput:
    name: str = strawberry.field(description="Which location; one that is not there is created.")
    label: strawberry.Maybe[str | None] = strawberry.field(description="What people call it.")
    width: strawberry.Maybe[int | None] = strawberry.field(description="Default width in pixels.")
    height: strawberry.Maybe[int | None] = strawberry.field(description="Default height in pixels.")
    fallback: strawberry.Maybe[str | None] = strawberry.field(
        description="The location whose picture is shown where a pack has none here."
    )
    resize_gravity: strawberry.Maybe[Gravity | None] = strawberry.field(description="Where a crop is anchored.")
    use_resize_include_all: strawberry.Maybe[IncludeAll | None] = strawberry.field(
        description="Whether the whole picture is shown."
    )
    allow_upscale: strawberry.Maybe[bool | None] = strawberry.field(
        description="Whether a picture may be enlarged beyond its own pixels."
    )
    renditions: strawberry.Maybe[list[RenditionInput] | None] = strawberry.field(
        description="What to render ahead of time; null: the default size at a dpr of 1 and 2."
    )
    formats: strawberry.Maybe[list[ImageFormat] | None] = strawberry.field(
        description="In which formats; null: AVIF, WEBP, and JPEG or PNG."
    )

    def changes(self) -> dict[str, Any]:
        """Return what to change, by the core's names."""
        return sent(
            {
                "label": self.label,
                "width": self.width,
                "height": self.height,
                "fallback": self.fallback,
                "resize_gravity": self.resize_gravity,
                "include_all": self.use_resize_include_all,
                "allow_upscale": self.allow_upscale,
                "renditions": self.renditions,
                "formats": self.formats,
            }
        )
