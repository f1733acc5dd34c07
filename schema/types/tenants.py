"""GraphQL types of tenants and of the caller."""

from datetime import datetime
from typing import Any

import strawberry

from packshot import geometry, model
from packshot.ids import IdKind, global_id
from resolvers import tenants
from schema.base.enums import FormatPolicy, Gravity, OnDemandPolicy
from schema.base.inputs import sent
from schema.base.interfaces import Node
from schema.base.refusals import read
from schema.base.scalars import Long
from schema.request.context import Info


def tenant_id(name: str) -> strawberry.ID:
    """Return the global id of a tenant."""
    return strawberry.ID(global_id(IdKind.TENANT, name))


@strawberry.type(
    description="The customer to whom packs and locations belong, with the defaults that apply where nothing else is "
    "set."
)
class Tenant(Node):
    version: int = strawberry.field(description="Number of the tenant's version, for `expectedVersion`.")
    name: str = strawberry.field(description="Name in keys and host names.")
    resize_gravity: Gravity = strawberry.field(description="Where the kept part of a crop lies.")
    use_resize_include_all: bool = strawberry.field(description="Whether the whole image is shown.")
    format_policy: FormatPolicy = strawberry.field(description="Which format a URL without `format` yields.")
    keep_credits: bool = strawberry.field(
        description="Whether variants keep an original's copyright and credit fields. All other metadata is removed."
    )
    on_demand: OnDemandPolicy = strawberry.field(description="Which unplanned variants clients can have rendered.")
    core: strawberry.Private[model.Tenant]

    @strawberry.field(
        description="Maximum bytes of stored unplanned variants; the least recently requested are deleted first. 0: "
        "none are stored."
    )
    def unplanned_bytes_limit(self, info: Info) -> Long:
        own = self.core.unplanned_bytes
        return Long(info.context.caller.site.settings.unplanned_bytes if own is None else own)

    @strawberry.field(description="Bytes of the stored unplanned variants, plus 4,096 for each.")
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


@strawberry.input(description="The defaults to set. An absent field stays unchanged, null resets it.")
class TenantInput:
    resize_gravity: strawberry.Maybe[Gravity | None] = strawberry.field(
        description="Where the kept part of a crop lies; null: CENTER."
    )
    use_resize_include_all: strawberry.Maybe[bool | None] = strawberry.field(
        description="Whether the whole image is shown; null: it is cropped."
    )
    format_policy: strawberry.Maybe[FormatPolicy | None] = strawberry.field(
        description="Which format a URL without `format` yields; null: ORIGINAL."
    )
    keep_credits: strawberry.Maybe[bool | None] = strawberry.field(
        description="Whether variants keep an original's copyright and credit fields; null: they do not."
    )
    on_demand: strawberry.Maybe[OnDemandPolicy | None] = strawberry.field(
        description="Which unplanned variants clients can have rendered; null: ANY. Applies at once."
    )
    unplanned_bytes_limit: strawberry.Maybe[Long | None] = strawberry.field(
        description="Maximum bytes of stored unplanned variants; 0: none are stored; null: the setting of the "
        "installation."
        " Applies at once."
    )

    def values(self) -> dict[str, Any]:
        """Return the fields that the client sent, by the core's names."""
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


@strawberry.type(description="The authenticated client of a request, and the rights of its token.")
class Viewer:
    tenant: Tenant = strawberry.field(description="The tenant whose packs and locations the token can access.")
    subject: str = strawberry.field(description="Name of the caller in `createdBy` and `changedBy`.")
    scopes: list[str] = strawberry.field(description="The scopes of the token.")
    expires_at: datetime | None = strawberry.field(description="When the token expires; null: never.")
    epoch: str = strawberry.field(
        description="The history to which every `sequenceNumber` belongs; a restored database begins a new one."
    )
