"""The change feed: what changed and what was deleted, for clients that keep a copy."""

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


@strawberry.type(description="One pack or location that changed or was deleted; each is told once, as it is now.")
class Change:
    kind: ChangeKind = strawberry.field(description="What happened last.")
    sequence_number: Long = strawberry.field(description="Its place in the tenant's sequence; it rises within a feed.")
    at: datetime = strawberry.field(description="When it happened.")
    id: strawberry.ID = strawberry.field(description="Of the pack or location, also when it was deleted.")
    external_id: str | None = strawberry.field(description="Of a pack: what another system calls it.")
    asset_id: Long | None = strawberry.field(description="Of a pack: the asset it belongs to.")
    pack: Pack | None = strawberry.field(description="The pack as it is now; null: it is a location, or was deleted.")
    location: ImageLocation | None = strawberry.field(
        description="The location as it is now; null: it is a pack, or was deleted."
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
    cursor: str = strawberry.field(description="For `after`, to go on after this change.")
    node: Change = strawberry.field(description="The change.")


@strawberry.type(description="One page of changes, in the order of the sequence.")
class ChangeConnection:
    edges: list[ChangeEdge] = strawberry.field(description="The page's changes with their cursors.")
    nodes: list[Change] = strawberry.field(description="The page's changes.")
    page_info: PageInfo = strawberry.field(
        description="What lies around the page; `endCursor` is there also where the page is empty."
    )
    epoch: str = strawberry.field(
        description="Of which history the sequence is; another one after the database was restored from a backup."
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
        description="What changed and what was deleted after a cursor, packs and locations, each once, as it is now. "
        "Without a cursor all that there is: a copy begins so, empty. `RESYNC` says that what happened since the "
        "cursor is not known any more, after a restore or 90 days without a look; the client starts over.",
        extensions=[READS],
    )
    async def changes(self, info: Info, first: First = 100, after: After = strawberry.UNSET) -> ChangeConnection:
        caller = info.context.caller
        return ChangeConnection.of(
            await read(info, lambda: change_feed.list_changes(caller, first=first, after=given(after)))
        )
