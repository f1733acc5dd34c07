"""Tenants: whose packs and locations they are, and what applies where nothing else is said."""

from datetime import datetime
from typing import Any

import strawberry

from packshot import geometry, model
from resolvers import tenants
from schema.base.enums import FormatPolicy, Gravity, OnDemandPolicy
from schema.base.inputs import sent
from schema.base.interfaces import Node
from schema.base.refusals import read
from schema.base.scalars import Long
from schema.request.context import Info


def tenant_id(name: str) -> strawberry.ID:
    """Return the global id of a tenant."""
    return strawberry.ID(f"tenant:{name}")


@strawberry.type(description="Whose packs and locations they are, and what applies where nothing else is said.")
class Tenant(Node):
    version: int = strawberry.field(description="Counts changes, for `expectedVersion`.")
    name: str = strawberry.field(description="What keys and hosts call it.")
    resize_gravity: Gravity = strawberry.field(description="Where a crop is anchored.")
    use_resize_include_all: bool = strawberry.field(description="Whether the whole picture is shown.")
    format_policy: FormatPolicy = strawberry.field(description="Which format a URL without `format` gives.")
    keep_credits: bool = strawberry.field(
        description="Whether an original's copyright and credit lines stay in its variants; nothing else ever does."
    )
    on_demand: OnDemandPolicy = strawberry.field(
        description="Which variants besides the planned ones clients can have rendered."
    )
    core: strawberry.Private[model.Tenant]

    @strawberry.field(
        description="Most bytes of unplanned variants that are kept; the least recently requested go first. 0: none is."
    )
    def unplanned_bytes_limit(self, info: Info) -> Long:
        own = self.core.unplanned_bytes
        return Long(info.context.caller.site.settings.unplanned_bytes if own is None else own)

    @strawberry.field(description="Bytes of the unplanned variants that are kept, and 4,096 for each.")
    async def unplanned_bytes_used(self, info: Info) -> Long:
        caller = info.context.caller
        return Long(await read(info, lambda: tenants.read_usage(caller)))

    @classmethod
    def of(cls, tenant: model.Tenant) -> "Tenant":
        return cls(
            id=tenant_id(tenant.name),
            version=tenant.version,
            name=tenant.name,
            resize_gravity=Gravity[tenant.resize_gravity.name],
            use_resize_include_all=tenant.include_all,
            format_policy=FormatPolicy[tenant.format_policy.name],
            keep_credits=tenant.keep_credits,
            on_demand=OnDemandPolicy[tenant.on_demand.name],
            core=tenant,
        )


@strawberry.input(
    description="What applies where nothing else is said. Absent leaves a value as it is, null resets it."
)
class TenantInput:
    resize_gravity: strawberry.Maybe[Gravity | None] = strawberry.field(
        description="Where a crop is anchored; null: CENTER."
    )
    use_resize_include_all: strawberry.Maybe[bool | None] = strawberry.field(
        description="Whether the whole picture is shown; null: it is cropped."
    )
    format_policy: strawberry.Maybe[FormatPolicy | None] = strawberry.field(
        description="Which format a URL without `format` gives; null: ORIGINAL."
    )
    keep_credits: strawberry.Maybe[bool | None] = strawberry.field(
        description="Whether an original's copyright and credit lines stay in its variants; null: they do not."
    )
    on_demand: strawberry.Maybe[OnDemandPolicy | None] = strawberry.field(
        description="Which variants besides the planned ones clients can have rendered; null: ANY. Applies at once."
    )
    unplanned_bytes_limit: strawberry.Maybe[Long | None] = strawberry.field(
        description="Most bytes of unplanned variants that are kept, 0: none is; null: as the installation says."
        " Applies at once."
    )

    def values(self) -> dict[str, Any]:
        """Return what to set, by the core's names."""
        values = sent(
            {
                "resize_gravity": self.resize_gravity,
                "include_all": self.use_resize_include_all,
                "format_policy": self.format_policy,
                "keep_credits": self.keep_credits,
                "on_demand": self.on_demand,
                "unplanned_bytes": self.unplanned_bytes_limit,
            }
        )
        return {name: _DEFAULTS[name] if value is None else value for name, value in values.items()}


_DEFAULTS = {
    "resize_gravity": geometry.Gravity.CENTER,
    "include_all": False,
    "format_policy": model.FormatPolicy.ORIGINAL,
    "keep_credits": False,
    "on_demand": model.OnDemand.ANY,
    "unplanned_bytes": None,
}


@strawberry.type(description="Who is asking, and what the token allows.")
class Viewer:
    tenant: Tenant = strawberry.field(description="Whose packs and locations it sees.")
    subject: str = strawberry.field(description="Who it is, as `createdBy` and `changedBy` name it.")
    scopes: list[str] = strawberry.field(description="What the token may be used for.")
    expires_at: datetime | None = strawberry.field(description="When the token ends; null: never.")
    epoch: str = strawberry.field(
        description="Of which history every `sequenceNumber` is; another one after the database was restored."
    )
