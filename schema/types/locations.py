"""GraphQL types of locations: named places with a size and a resize rule."""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from packshot import model
from packshot.catalog.database.pages import check_first
from packshot.ids import IdKind, global_id
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
    return strawberry.ID(global_id(IdKind.LOCATION, name))


@strawberry.type(description="A size that is rendered ahead of time.")
class Rendition:
    width: int | None = strawberry.field(description="Pixels at a dpr of 1; null: it follows the location's ratio.")
    height: int | None = strawberry.field(description="Pixels at a dpr of 1; null: it follows the location's ratio.")
    dpr: float = strawberry.field(description="Device pixel ratio; multiplies both sides.")


@strawberry.type(
    description="An unplanned variant that clients request at a location by stable URLs. If `parameters` is empty, "
    "`addRendition` with these numbers makes it a planned one."
)
class Demand:
    width: int | None = strawberry.field(description="Pixels at a dpr of 1; null: it follows the ratio.")
    height: int | None = strawberry.field(description="Pixels at a dpr of 1; null: it follows the ratio.")
    dpr: float = strawberry.field(description="Device pixel ratio; multiplies both sides.")
    parameters: str = strawberry.field(
        description="What the URLs ask for beyond a rendition of this size, as a query string in normal form."
    )
    format: ImageFormat = strawberry.field(description="The format of the variants.")
    requests: Long = strawberry.field(
        description="Number of requests that had to be rendered; requests for stored variants are not counted."
    )
    last_requested_at: datetime = strawberry.field(description="Time of the last such request.")

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


def _shared_fields(location: model.LocationFields) -> dict[str, Any]:
    """Return the fields that `ImageLocation` and `LocationVersion` share, with defaults for renditions and formats."""
    renditions = effective_renditions(location)
    return {
        "label": location.label,
        "width": location.width,
        "height": location.height,
        "resize_gravity": graphql_gravity(location.resize_gravity),
        "use_resize_include_all": IncludeAll[location.include_all.name],
        "allow_upscale": location.allow_upscale,
        "renditions": [Rendition(width=item.width, height=item.height, dpr=item.dpr) for item in renditions],
        "formats": [ImageFormat[item.name] for item in location.formats or DEFAULT_FORMATS],
    }


@strawberry.type(
    description="A former, live or pending version of a location; `ImageLocation` describes the fields in full."
)
class LocationVersion:
    version: int = strawberry.field(description="Number of the version; of a pending version, the number it will have.")
    label: str | None = strawberry.field(description="Name for people.")
    width: int | None = strawberry.field(description="Default width in pixels.")
    height: int | None = strawberry.field(description="Default height in pixels.")
    fallback: str | None = strawberry.field(
        description="Name of the location whose image is shown where a pack has none."
    )
    resize_gravity: Gravity | None = strawberry.field(description="Where the kept part of a crop lies.")
    use_resize_include_all: IncludeAll = strawberry.field(description="Whether the whole image is shown.")
    allow_upscale: bool = strawberry.field(description="Whether an image may be enlarged.")
    renditions: list[Rendition] = strawberry.field(description="Sizes that are rendered ahead of time.")
    formats: list[ImageFormat] = strawberry.field(description="Formats that are rendered ahead of time.")
    active_from: datetime | None = strawberry.field(
        description="When the version went live; null: it is being prepared."
    )
    active_to: datetime | None = strawberry.field(
        description="When another version replaced it; null: it is live or pending."
    )
    changed_by: str | None = strawberry.field(description="The caller that made the change.")
    free_until: datetime | None = strawberry.field(
        description="Until this time a rollback to this version renders only packs that were edited or created since. "
        "Null: the version was not replaced, or all images were rendered again since."
    )

    @classmethod
    def of(cls, version: model.LocationVersion, grace: timedelta) -> "LocationVersion":
        return cls(
            **_shared_fields(version),
            version=version.version,
            fallback=version.fallback,
            active_from=version.active_from,
            active_to=version.active_to,
            changed_by=version.changed_by,
            free_until=None if version.active_to is None or version.revert_renders_all else version.active_to + grace,
        )


@strawberry.type(description="A tenant-wide named place with a size and a resize rule.")
class ImageLocation(Node):
    version: int = strawberry.field(description="Number of the live version, for `expectedVersion`.")
    name: str = strawberry.field(description="Name in URLs: lower-case letters, digits and hyphens.")
    label: str | None = strawberry.field(description="Name for people.")
    width: int | None = strawberry.field(description="Default width in pixels; null: it follows the image's ratio.")
    height: int | None = strawberry.field(description="Default height in pixels; null: it follows the image's ratio.")
    resize_gravity: Gravity | None = strawberry.field(
        description="Where the kept part of a crop lies; null: the tenant's default."
    )
    use_resize_include_all: IncludeAll = strawberry.field(
        description="Whether the whole image is shown; UNSET: the tenant's default."
    )
    allow_upscale: bool = strawberry.field(description="Whether an image may be enlarged beyond its own pixels.")
    renditions: list[Rendition] = strawberry.field(
        description="Sizes that are rendered ahead of time, besides the default size."
    )
    formats: list[ImageFormat] = strawberry.field(
        description="Formats that are rendered ahead of time; JPEG stands for PNG if an image has transparency."
    )
    added_at: datetime = strawberry.field(description="When the location was created.")
    updated_at: datetime = strawberry.field(description="When the live version went live.")
    fallback_name: strawberry.Private[str | None]
    core: strawberry.Private[model.Location]

    @strawberry.field(description="The location whose image is shown where a pack has none at this one.")
    async def fallback(self, info: Info) -> "ImageLocation | None":
        if self.fallback_name is None:
            return None
        found = await info.context.loaders.locations.load(self.fallback_name)
        return None if found is None else ImageLocation.of(found)

    @strawberry.field(description="Number of packs that have an original of their own at this location.")
    async def pack_count(self, info: Info) -> int:
        return await info.context.loaders.pack_counts.load(self.name) or 0

    @strawberry.field(
        description="Unplanned variants that clients request at this location, most requested first. "
        "`regenerate` also renders the most popular ones."
    )
    async def demand(self, info: Info, first: First = 10) -> list[Demand]:
        with refusing():
            check_first(first)
        found = await info.context.loaders.demand.load(self.name) or []
        return [Demand.of(item) for item in found[:first]]

    @strawberry.field(
        description="The version that the pending change will make; null: no change of this location is pending."
    )
    async def pending(self, info: Info) -> LocationVersion | None:
        pending_change = await info.context.loaders.pending_change.load("")
        version = None if pending_change is None else locations.pending_version(pending_change, self.core)
        return None if version is None else LocationVersion.of(version, info.context.caller.site.settings.grace)

    @strawberry.field(description="The job that prepares the pending change.")
    async def pending_job(self, info: Info) -> Annotated["Job", strawberry.lazy("schema.types.jobs")] | None:
        from schema.types.jobs import Job

        pending_change = await info.context.loaders.pending_change.load("")
        if pending_change is None or not locations.is_pending(pending_change, self.name):
            return None
        job = await info.context.loaders.jobs.load(pending_change.job_id)
        return None if job is None else Job.of(job)

    @strawberry.field(
        description="The versions of the location, the live one first; `rollbackLocation` reverts to one."
    )
    async def history(
        self, info: Info, first: First = 10, after: After = strawberry.UNSET
    ) -> Connection[LocationVersion]:
        caller, name = info.context.caller, self.name
        page = await read(info, lambda: locations.list_versions(caller, name, first=first, after=given(after)))
        return connect(page, lambda version: LocationVersion.of(version, caller.site.settings.grace))

    @classmethod
    def of(cls, location: model.Location) -> "ImageLocation":
        return cls(
            **_shared_fields(location),
            id=location_id(location.name),
            version=location.version,
            name=location.name,
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
    description="The fields to set. A new location needs a width or a height. An absent field stays unchanged, null "
    "resets it to its default."
)
class LocationInput:
    name: str = strawberry.field(description="Name of the location; a location that does not exist is created.")
    label: strawberry.Maybe[str | None] = strawberry.field(description="Name for people.")
    width: strawberry.Maybe[int | None] = strawberry.field(description="Default width in pixels.")
    height: strawberry.Maybe[int | None] = strawberry.field(description="Default height in pixels.")
    fallback: strawberry.Maybe[str | None] = strawberry.field(
        description="The location whose image is shown where a pack has none at this one."
    )
    resize_gravity: strawberry.Maybe[Gravity | None] = strawberry.field(
        description="Where the kept part of a crop lies."
    )
    use_resize_include_all: strawberry.Maybe[IncludeAll | None] = strawberry.field(
        description="Whether the whole image is shown."
    )
    allow_upscale: strawberry.Maybe[bool | None] = strawberry.field(
        description="Whether an image may be enlarged beyond its own pixels."
    )
    renditions: strawberry.Maybe[list[RenditionInput] | None] = strawberry.field(
        description="Sizes to render ahead of time; null: the default size at a dpr of 1 and 2."
    )
    formats: strawberry.Maybe[list[ImageFormat] | None] = strawberry.field(
        description="Formats to render ahead of time; null: AVIF, WEBP, and JPEG or PNG."
    )

    def changes(self) -> dict[str, Any]:
        """Return the fields that the client sent, by the core's names."""
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
