"""The change feed: changed and deleted packs and locations, for clients that keep a copy."""

from datetime import datetime

import strawberry

from packshot.catalog.packs import change_feed as catalog
from resolvers import change_feed
from schema.base.enums import ChangeKind
from schema.base.inputs import given
from schema.base.paging import After, First, PageInfo
from schema.base.refusals import read
from schema.base.scalars import Long
from schema.execution.scopes import READS
from schema.request.context import Info
from schema.types.locations import ImageLocation, location_id
from schema.types.packs import Pack


@strawberry.type(description="A pack or location that changed or was deleted. Each appears once, in its current state.")
class Change:
    kind: ChangeKind = strawberry.field(description="The last change.")
    sequence_number: Long = strawberry.field(
        description="The tenant's sequence number at this change; numbers rise within a feed."
    )
    at: datetime = strawberry.field(description="When it happened.")
    id: strawberry.ID = strawberry.field(
        description="The id of the pack or location, such as `location:thumb`; set even after its deletion."
    )
    external_id: str | None = strawberry.field(description="For a pack: its id in another system, such as `film-4711`.")
    asset_id: Long | None = strawberry.field(description="For a pack: the number of its asset, such as 4711.")
    pack: Pack | None = strawberry.field(
        description="The pack in its current state; null for a location or a deleted pack."
    )
    location: ImageLocation | None = strawberry.field(
        description="The location in its current state; null for a pack or a deleted location."
    )

    @classmethod
    def of(cls, change: catalog.Change) -> "Change":
        kind = ChangeKind[change.kind.name]
        of_location = change.kind in (catalog.ChangeKind.LOCATION_CHANGED, catalog.ChangeKind.LOCATION_DELETED)
        return cls(
            kind=kind,
            sequence_number=Long(change.sequence_number),
            at=change.at,
            id=location_id(change.id) if of_location else strawberry.ID(change.id),
            external_id=change.external_id,
            asset_id=None if change.asset_id is None else Long(change.asset_id),
            pack=None if change.pack is None else Pack.of(change.pack),
            location=None if change.location is None else ImageLocation.of(change.location),
        )


@strawberry.type(description="One change of a page, with its cursor.")
class ChangeEdge:
    cursor: str = strawberry.field(description="Pass it as `after` to continue after this change.")
    node: Change = strawberry.field(description="The change.")


@strawberry.type(description="One page of changes, in sequence order.")
class ChangeConnection:
    edges: list[ChangeEdge] = strawberry.field(description="The changes of the page with their cursors.")
    nodes: list[Change] = strawberry.field(description="The changes of the page.")
    page_info: PageInfo = strawberry.field(
        description="The position of the page in the feed; `endCursor` is set even if the page is empty."
    )
    epoch: str = strawberry.field(
        description="The history that the sequence numbers belong to. A database that was restored from a backup has "
        "another one."
    )

    @classmethod
    def of(cls, page: catalog.ChangePage) -> "ChangeConnection":
        nodes = [Change.of(change) for change in page.changes]
        return cls(
            edges=[ChangeEdge(cursor=cursor, node=node) for cursor, node in zip(page.cursors, nodes, strict=True)],
            nodes=nodes,
            page_info=PageInfo(
                has_next_page=page.has_next,
                has_previous_page=page.has_previous,
                start_cursor=page.cursors[0] if page.cursors else None,
                end_cursor=page.end,
            ),
            epoch=page.epoch,
        )


@strawberry.type
class ChangeQuery:
    @strawberry.field(
        description="Packs and locations that changed or were deleted after a cursor, each once, in their current "
        "state. Without a cursor the feed starts with everything that exists, to begin a copy. "
        "`RESYNC` means that the changes since the cursor are no longer known, after a restore or 90 "
        "days without a request: start over without a cursor.",
        extensions=[READS],
    )
    async def changes(self, info: Info, first: First = 100, after: After = strawberry.UNSET) -> ChangeConnection:
        caller = info.context.caller
        return ChangeConnection.of(
            await read(info, lambda: change_feed.list_changes(caller, first=first, after=given(after)))
        )
