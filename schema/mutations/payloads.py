"""Payloads of mutations: the result, or the refusals."""

import asyncio
import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, TypeAlias, TypeVar

import strawberry
from graphql import ListValueNode, ObjectValueNode, ValueNode, VariableNode, print_ast

from packshot import errors
from packshot.catalog.clients.idempotency import AnsweredBefore, call_of, find_answer
from packshot.errors import Invalid, PackshotError
from packshot.variants import change_plan
from resolvers import uploads
from resolvers.caller import Caller
from resolvers.pack_imports import Outcome, load_outcomes
from schema.base.enums import ErrorCode
from schema.base.inputs import given
from schema.base.interfaces import InputError, Taken, UserError, VersionConflict
from schema.base.refusals import field_path, run_in
from schema.base.scalars import URL
from schema.request.context import Info
from schema.request.threads import ThreadPool
from schema.types.jobs import Job
from schema.types.locations import ImageLocation
from schema.types.nodes import load_node
from schema.types.packs import Pack, PackLocation
from schema.types.plans import ForceRequired, LocationPlan
from schema.types.tenants import Tenant
from schema.types.uploads import Upload
from schema.types.webhooks import Webhook

MAX_KEY_CHARACTERS = 255

IdempotencyKey: TypeAlias = Annotated[
    str | None,
    strawberry.argument(
        description="1 to 255 characters that the client chooses for each call, such as a UUID. A repeated call with "
        "the same key within 24 hours changes nothing and gets the same response."
    ),
]
ExpectedVersion: TypeAlias = Annotated[
    int | None,
    strawberry.argument(
        description="Refuse the change unless the object has this version. Without it, the last edit wins."
    ),
]


def _user_errors() -> list[UserError]:
    return strawberry.field(default_factory=list, description="Why the mutation was refused; empty if it succeeded.")  # type: ignore[no-any-return]


@strawberry.type(description="The changed tenant.")
class TenantPayload:
    tenant: Tenant | None = strawberry.field(default=None, description="The tenant in its current state.")
    job: Job | None = strawberry.field(
        default=None, description="The job that renders images that look different now; null if there are none."
    )
    user_errors: list[UserError] = _user_errors()


@strawberry.type(description="The created or changed location.")
class LocationPayload:
    location: ImageLocation | None = strawberry.field(default=None, description="The location in its current state.")
    plan: LocationPlan | None = strawberry.field(
        default=None, description="The plan of the change, if it alters images that packs show."
    )
    job: Job | None = strawberry.field(
        default=None, description="The job that renders the required variants; null if there are none."
    )
    user_errors: list[UserError] = _user_errors()


@strawberry.type(description="The plan of a change.")
class PlanPayload:
    plan: LocationPlan | None = strawberry.field(default=None, description="The plan.")
    user_errors: list[UserError] = _user_errors()


@strawberry.type(description="The deleted location.")
class DeleteLocationPayload:
    deleted_id: strawberry.ID | None = strawberry.field(
        default=None, description="The id of the deleted location, such as `location:thumb`."
    )
    deleted_name: str | None = strawberry.field(default=None, description="Its name.")
    job: Job | None = strawberry.field(
        default=None, description="The job that renders what packs show instead; null if nothing changes."
    )
    user_errors: list[UserError] = _user_errors()


@strawberry.type(description="The deleted pack.")
class DeletePackPayload:
    deleted_id: strawberry.ID | None = strawberry.field(default=None, description="The id of the deleted pack.")
    user_errors: list[UserError] = _user_errors()


@strawberry.type(description="The created or changed pack.")
class PackPayload:
    pack: Pack | None = strawberry.field(default=None, description="The pack in its current state.")
    job: Job | None = strawberry.field(
        default=None, description="The job that renders it; null if there is nothing to render."
    )
    user_errors: list[UserError] = _user_errors()


@strawberry.type(description="The created packs, each with its own result.")
class PacksPayload:
    job: Job | None = strawberry.field(
        default=None, description="The job that fetches the originals, or renders if there is nothing to fetch."
    )
    user_errors: list[UserError] = _user_errors()
    outcomes: strawberry.Private[list[Outcome]] = dataclasses.field(default_factory=list)

    @strawberry.field(description="The result of each input, in order.")
    async def results(self, info: Info) -> list[PackPayload]:
        return list(await asyncio.gather(*(_result(info, *numbered) for numbered in enumerate(self.outcomes))))


@strawberry.type(description="The changed pack location.")
class PackLocationPayload:
    pack_location: PackLocation | None = strawberry.field(
        default=None, description="The pack location in its current state."
    )
    pack: Pack | None = strawberry.field(default=None, description="Its pack in its current state.")
    job: Job | None = strawberry.field(
        default=None, description="The job that renders it; null if there is nothing to render."
    )
    preview_urls: list[URL] | None = strawberry.field(
        default=None, description="With `dryRun`: immutable URLs of previews, each size once, largest first."
    )
    user_errors: list[UserError] = _user_errors()


@strawberry.type(description="The announced upload.")
class UploadPayload:
    upload: Upload | None = strawberry.field(default=None, description="Where to send the bytes.")
    user_errors: list[UserError] = _user_errors()


@strawberry.type(
    description="A webhook that was created, deleted or got a new secret, or whose delivery is sent again."
)
class WebhookPayload:
    webhook: Webhook | None = strawberry.field(default=None, description="The webhook.")
    secret: str | None = strawberry.field(
        default=None,
        description="The secret by which the receiver verifies deliveries. It is shown once: after creation or "
        "rotation.",
    )
    user_errors: list[UserError] = _user_errors()


@strawberry.type(description="The signed URL.")
class UrlPayload:
    url: URL | None = strawberry.field(default=None, description="The URL with its signature.")
    expires_at: datetime | None = strawberry.field(default=None, description="When the signature expires.")
    user_errors: list[UserError] = _user_errors()


@strawberry.type(description="The started or changed job.")
class JobPayload:
    job: Job | None = strawberry.field(default=None, description="The job in its current state.")
    user_errors: list[UserError] = _user_errors()


async def _result(info: Info, number: int, outcome: Outcome) -> PackPayload:
    if outcome.error is not None:
        path = ("inputs", str(number), *outcome.error.field)
        return PackPayload(user_errors=[await _user_error(info, outcome.error, path)])
    assert outcome.pack_id is not None
    snapshot = await info.context.loaders.snapshots.load(outcome.pack_id)
    job = None if outcome.job_id is None else await info.context.loaders.jobs.load(outcome.job_id)
    return PackPayload(
        pack=None if snapshot is None else Pack.of(snapshot.pack), job=None if job is None else Job.of(job)
    )


P = TypeVar("P")


async def payload(
    info: Info,
    kind: Callable[..., P],
    act: Callable[[Caller], P],
    *,
    under: tuple[str, ...] = (),
    key: str | None = None,
    threads: ThreadPool | None = None,
) -> P:
    """Run a mutation in a thread and return its payload, or a payload with the refusals.

    Args:
        kind: creates a payload from its fields by name.
        under: the argument that holds the values, if the core's paths start within it.
        key: the client's idempotency key; a call that was made before gets the same answer.
        threads: the pool for `act`; by default that of the database.
    """
    # Mutations run one after another, so values are read again only after this one.
    info.context.forget()
    try:
        return await run_in(info, threads or info.context.threads.resolvers, _run, info, act, given(key))
    except AnsweredBefore as before:
        answer = before.answer
    except PackshotError as error:
        # Of the names in the core's paths, only these are arguments beside `input`.
        beside = error.field[:1] in (("expected_version",), ("idempotency_key",), ("force",), ("plan_id",))
        path = error.field if beside else (*under, *error.field)
        return kind(user_errors=[await _user_error(info, error, path)])
    try:
        return kind(**{name: await _load(info, name, id) for name, id in answer.items()})
    except PackshotError as error:
        # The object was deleted since then; no argument is to blame.
        return kind(user_errors=[await _user_error(info, error, ())])


def _run(info: Info, act: Callable[[Caller], P], key: str | None) -> P:
    caller = info.context.caller
    if key is None:
        return act(caller)
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS:
        raise Invalid(
            "The idempotency key is not valid.",
            field=("idempotency_key",),
            expected=f"1 to {MAX_KEY_CHARACTERS} characters",
        )
    call = call_of(caller.subject, key, _body(info))
    # This comes before checks and decoding, because the answer may be stored already.
    with caller.site.catalog.read(caller.tenant) as tx:
        find_answer(tx, call)
    return act(replace(caller, idempotent_call=call))


def _body(info: Info) -> str:
    """Serialize the arguments of a mutation without its key: equal arguments in any order give equal texts.

    An absent variable and null give different texts, because they have different meanings.
    """
    raw = info._raw_info
    # If a field appears twice, its arguments are equal.
    given = {argument.name.value: argument.value for argument in raw.field_nodes[0].arguments or ()}
    variables = info.variable_values
    arguments = {name: _spelled(value, variables) for name, value in given.items() if name != "idempotencyKey"}
    return json.dumps([raw.field_name, arguments], sort_keys=True, default=str)


def _spelled(node: ValueNode, variables: Mapping[str, Any]) -> object:
    if isinstance(node, VariableNode):
        return [variables[node.name.value]] if node.name.value in variables else []
    if isinstance(node, ObjectValueNode):
        return {field.name.value: _spelled(field.value, variables) for field in node.fields}
    if isinstance(node, ListValueNode):
        return [_spelled(value, variables) for value in node.values]
    return print_ast(node)


async def _load(info: Info, name: str, id: str) -> object:
    if name == "upload":
        return await run_in(info, info.context.threads.resolvers, _load_upload, info.context.caller, id)
    if name == "outcomes":
        return load_outcomes(id)
    return id if name.startswith("deleted_") else await load_node(info, id)


def _load_upload(caller: Caller, id: str) -> Upload:
    upload = uploads.find_upload(caller, id)
    return Upload.of(upload, uploads.find_ticket(caller, upload))


async def _user_error(info: Info, error: PackshotError, path: tuple[str, ...]) -> UserError:
    code, message, field = ErrorCode[error.code.name], error.message, field_path(path) or None
    # The object that it names may be deleted by now, or may never have existed.
    if isinstance(error, errors.VersionConflict) and (current := await load_node(info, error.current_id)):
        return VersionConflict(
            code=code,
            message=message,
            field=field,
            expected=error.expected,
            got=error.got,
            current_version=error.current_version,
            current=current,
        )
    if isinstance(error, errors.Taken) and (existing := await load_node(info, error.existing_id)):
        return Taken(code=code, message=message, field=field, expected=error.expected, got=error.got, existing=existing)
    if isinstance(error, change_plan.ForceRequired):
        plan = LocationPlan.of(error.plan)
        return ForceRequired(code=code, message=message, field=field, expected=error.expected, got=error.got, plan=plan)
    return InputError(code=code, message=message, field=field, expected=error.expected, got=error.got)
