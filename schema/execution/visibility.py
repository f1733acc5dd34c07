"""What a token without the scope `read` can see: one table for the whole schema.

A mutation returns objects, and objects lead to other objects. So every field that is reachable without `read`
requires that scope, unless this table lists it. New types and fields stay closed until they are listed here.
"""

from collections.abc import Callable, Iterator
from typing import Any

import strawberry
from graphql import GraphQLField, GraphQLObjectType, GraphQLSchema, get_named_type, is_abstract_type

from packshot.errors import Forbidden
from resolvers.caller import Scope
from schema.base.refusals import refused
from schema.execution.scopes import Requires

ALL = None
# A writer sees the identity and version of an object, the progress of a job, the counts of a plan. Fields that reveal
# more about the tenant need `read`: names that others gave, addresses, signed URLs, images, other objects.
WITHOUT_READ: dict[str, frozenset[str] | None] = {
    "Viewer": ALL,
    "Tenant": frozenset({"id", "version", "name"}),
    "ImageLocation": frozenset({"id", "version", "name"}),
    # A stable URL reveals only the id and the name.
    "Pack": frozenset({"id", "version", "sequenceNumber", "stableUrl"}),
    "PackLocation": frozenset({"id", "version", "name", "stableUrl"}),
    "Webhook": frozenset({"id", "active"}),
    "WebhookDelivery": frozenset({"id"}),
    "Variant": frozenset({"id"}),
    "Purge": frozenset({"id"}),
    "Job": frozenset(
        {
            "id",
            "packId",
            "kind",
            "state",
            "priority",
            "total",
            "done",
            "skipped",
            "failed",
            "variantsPerSecond",
            "etaSeconds",
            "stalledReason",
            "createdAt",
            "startedAt",
            "heartbeatAt",
            "activatedAt",
            "finishedAt",
        }
    ),
    "LocationPlan": frozenset(
        {
            "id",
            "name",
            "baseVersion",
            "requiresForce",
            "changes",
            "packs",
            "render",
            "reuse",
            "upscaled",
            "cpuSeconds",
            "wallSeconds",
            "bytes",
            "purgeRequests",
            "expiresAt",
        }
    ),
    # Not `before`: another caller may have set it.
    "FieldChange": frozenset({"field", "after", "requiresForce"}),
    "Upload": ALL,
    "KeyValue": ALL,
    "TenantPayload": ALL,
    "LocationPayload": ALL,
    "PlanPayload": ALL,
    "DeleteLocationPayload": ALL,
    "DeletePackPayload": ALL,
    "PackPayload": ALL,
    "PacksPayload": ALL,
    # Not `previewUrls`: they show the image.
    "PackLocationPayload": frozenset({"packLocation", "pack", "job", "userErrors"}),
    "UploadPayload": ALL,
    "WebhookPayload": ALL,
    "UrlPayload": ALL,
    "JobPayload": ALL,
    "InputError": ALL,
    "VersionConflict": ALL,
    "Taken": ALL,
    "ForceRequired": ALL,
}


def require_read(schema: strawberry.Schema) -> None:
    """Make every field that is reachable without `read` and not in the table require it, also in the SDL."""
    for field in _closed_fields(schema._schema):
        assert field.resolve is not None
        field.resolve = _checked(field.resolve)
        definition = field.extensions["strawberry-definition"]
        definition.directives = [*definition.directives, Requires(scope=Scope.READ.value)]


def _closed_fields(schema: GraphQLSchema) -> Iterator[GraphQLField]:
    assert schema.query_type is not None
    assert schema.mutation_type is not None
    reached: set[str] = set()
    # All other root fields of queries and subscriptions require `read` themselves.
    waiting = [schema.query_type.fields["viewer"], *schema.mutation_type.fields.values()]
    while waiting:
        kind: Any = get_named_type(waiting.pop().type)
        for each in schema.get_possible_types(kind) if is_abstract_type(kind) else [kind]:
            if not isinstance(each, GraphQLObjectType) or each.name in reached:
                continue
            reached.add(each.name)
            seen = WITHOUT_READ.get(each.name, frozenset())
            for name, field in each.fields.items():
                if seen is ALL or name in seen:
                    waiting.append(field)
                else:
                    yield field


def _checked(resolve: Callable[..., Any]) -> Callable[..., Any]:
    def checked(source: Any, info: Any, **arguments: Any) -> Any:
        try:
            info.context.caller.check(Scope.READ)
        except Forbidden as error:
            raise refused(error) from None
        return resolve(source, info, **arguments)

    return checked
