"""Explain step by step how an image URL resolves. For operators and editors, never for the public.

The steps come from the functions that answer the URL, so that the explanation cannot differ from the response.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import Enum
from typing import Any

import anyio
import anyio.to_thread
import orjson
from starlette.requests import Request
from starlette.responses import Response

from packshot.catalog.variants import ledger
from packshot.catalog.variants.ledger import Entry
from packshot.errors import Forbidden, Invalid, NotFound, PackshotError
from packshot.model import Format, Location, OnDemand, Original, Snapshot
from packshot.production import check_original
from packshot.site import Site
from packshot.storage.base import DamagedObject, Stored
from packshot.variants.draft import choose, default_formats
from packshot.variants.live_request import LiveForm
from packshot.variants.request import RequestForm, split_query
from packshot.variants.resolve import (
    Target,
    asked_location,
    is_planned,
    negotiates,
    offered,
    policy_for,
    resolve,
    retarget,
    shown_at,
    source_of,
)
from resolvers import live_resize
from resolvers.caller import Caller, Scope
from resolvers.urls.build import Urls
from resolvers.urls.parse import Address
from schema.request.threads import ThreadsBusy
from serve.http import problems
from serve.http.auth import Authenticator, Insecure, Unauthenticated
from serve.http.negotiation import accepted_by
from serve.image.caching import PRIVATE, describe_immutable, describe_redirect, describe_stable, redirects_to_cdn
from serve.image.erased import Erased, read_shown
from serve.image.fallback import refuse_failed, refuse_undecodable

Document = dict[str, Any]
# Explanations are rare, and must not take threads from image requests.
THREADS = 2


class Explainer:
    """Answers `?explain=1` if the caller may read the tenant. For other clients the parameter has no effect."""

    def __init__(self, site: Site, authenticator: Authenticator) -> None:
        self._site = site
        self._authenticator = authenticator
        self._threads = anyio.CapacityLimiter(THREADS)

    async def answer(self, request: Request, address: Address) -> Response | None:
        """Return the explanation; None: the client did not request one or may not have it.

        A refusal would reveal which tenants and tokens exist, so such a request gets the same response as without
        the parameter.
        """
        if not _asks(request):
            return None
        try:
            caller = await self._authenticator.authenticate(request, tenant=address.tenant)
            caller.check(Scope.READ)
        except (Unauthenticated, Insecure, Forbidden, NotFound, ThreadsBusy):
            return None
        if caller.tenant != address.tenant:
            return None
        return await anyio.to_thread.run_sync(self._explain, request, address, caller, limiter=self._threads)

    def _explain(self, request: Request, address: Address, caller: Caller) -> Response:
        accept = accepted_by(request)
        body = orjson.dumps(explain(self._site, address, caller.urls, accept), option=orjson.OPT_UTC_Z)
        return Response(body, headers={"Cache-Control": PRIVATE}, media_type="application/json")


def _asks(request: Request) -> bool:
    query = request.scope["query_string"].decode("latin-1")
    if "authorization" not in request.headers or "explain" not in query.lower():
        return False
    try:
        return split_query(query).get("explain") == "1"
    except Invalid:
        return False


def explain(site: Site, address: Address, urls: Urls, accept: frozenset[Format] = frozenset()) -> Document:
    """Return the steps from a URL to its response as a JSON document.

    If the URL is refused, `refusal` has the reason, and the document has all steps before it.

    Args:
        accept: the formats that the client accepts, for a negotiated format.

    Raises:
        Invalid: URLs of this kind have no explanation.
    """
    is_live = isinstance(address.form, LiveForm) and address.form.size is not None
    if address.key is None and not is_live and not isinstance(address.form, RequestForm):
        expected = "a stable URL, an immutable URL, or a live URL with a size"
        raise Invalid("This kind of URL has no explanation.", field=("url",), expected=expected, got=address.path)
    explanation: Document = {
        "kind": "immutable" if address.key is not None else "live" if is_live else "stable",
        "tenant": {"value": address.tenant, "from": address.named_by.value},
        "pack": address.pack_id,
        "keyRequired": site.access_policy.find(address.tenant) is not None,
    }
    if address.key is not None:
        steps = _immutable_steps(site, address, urls)
    else:
        read = _live_steps if is_live else _stable_steps
        steps = read(site, address, urls, accept)
    try:
        for step in steps:
            explanation |= step
            if "headers" in step and explanation["keyRequired"]:
                explanation["headers"] |= {"Cache-Control": PRIVATE}
        explanation["answer"] = explanation.pop("answer")
    except PackshotError as error:
        explanation["refusal"] = {name: value for name, value in problems.describe(error).items() if value is not None}
        explanation["answer"] = {"status": explanation["refusal"]["status"]}
    return explanation


def _live_steps(site: Site, address: Address, urls: Urls, accept: frozenset[Format]) -> Iterator[Document]:
    form = address.form
    assert isinstance(form, LiveForm)
    yield {"image": form.image_id}
    with site.catalog.read(address.tenant) as tx:
        pack_id = live_resize.find_pack(tx, form.image_id)
    yield {"pack": pack_id}
    within = form.within(site.limit)
    if within is not form:
        yield {"answer": {"status": 307, "by": f"redirecting to the equal request within the limit, {within.name}"}}
        return
    meant = replace(address, pack_id=pack_id, form=form.for_client(accept).request)
    yield from _stable_steps(site, meant, urls, accept, live_form=form)


def _stable_steps(
    site: Site, address: Address, urls: Urls, accept: frozenset[Format], *, live_form: LiveForm | None = None
) -> Iterator[Document]:
    form = address.form
    assert isinstance(form, RequestForm)
    is_live = live_form is not None
    yield {"request": form.query(), "accepts": sorted(accept)}
    snapshot = _read(site, address)
    name, said_by = asked_location(snapshot, form.location)
    yield {"location": {"value": name, "from": said_by}}
    source, consulted = source_of(snapshot, name)
    yield {"source": source, "consulted": list(consulted)}
    if (shown := shown_at(snapshot, name)) is not None:
        yield {
            "original": _original(shown.original),
            "crop": {"value": shown.crop and asdict(shown.crop), "from": shown.crop_from},
            "focus": {"value": shown.focus and asdict(shown.focus), "from": shown.focus_from},
            "policy": _policy(snapshot, snapshot.locations[name], shown.original, form, is_live=is_live),
        }
    drawn_as_is = replace(snapshot, tenant=replace(snapshot.tenant, on_demand=OnDemand.ANY))
    asked_for = resolve(drawn_as_is, form, limit=site.limit, accept=accept, upscale=is_live)
    yield {"onDemand": _on_demand(snapshot, asked_for, site, opened=address.opened)}
    target = resolve(snapshot, form, limit=site.limit, accept=accept, upscale=is_live, opened=address.opened)
    key = target.key
    yield {
        "plan": str(key.plan),
        "drawing": _plain(asdict(target.drawing)),
        "upscaled": target.upscaled,
        "plannedAhead": is_planned(snapshot, target, limit=site.limit),
        "fingerprint": key.fingerprint,
        "key": str(key),
        "immutableUrl": urls.immutable(key),
    }
    with site.catalog.read(address.tenant) as tx:
        entry = ledger.read_entry(tx, key)
    stored = _look(site, str(key))
    is_proxied = live_form is not None and live_form.proxy
    leads = is_live and not is_proxied and stored is not None and redirects_to_cdn(site, address.tenant)
    varies = negotiates(snapshot, form) if live_form is None else live_form.negotiates
    headers = describe_stable(site, target, varies=varies)
    if leads:
        headers = describe_redirect(site, target.tags, varies=varies)
    yield {"ledger": _entry(entry), "stored": _stored(stored), "tags": list(target.tags), "headers": headers}
    if stored is None:
        _refuse_unrenderable(site, target, entry)
    if leads:
        yield {"answer": {"status": 307, "by": "redirecting to the immutable URL"}}
        return
    if (
        site.settings.delivery == "redirect"
        and not is_proxied
        and not site.access_policy.is_private_cached(address.tenant)
    ):
        yield {"answer": {"status": 302, "by": "redirecting to the immutable URL"}}
        return
    yield {"answer": {"status": 200, "by": "the store" if stored else "rendering it now"}}


def _immutable_steps(site: Site, address: Address, urls: Urls) -> Iterator[Document]:
    key = address.key
    assert key is not None
    yield {
        "location": {"value": key.location, "from": "path"},
        "plan": str(key.plan),
        "fingerprint": key.fingerprint,
        "key": str(key),
        "immutableUrl": urls.immutable(key),
    }
    Erased(site).refuse_under_way(key.tenant, key.pack)
    with site.catalog.read(key.tenant) as tx:
        entry = ledger.read_entry(tx, key)
    stored = _look(site, str(key))
    yield {"ledger": _entry(entry), "stored": _stored(stored), "headers": describe_immutable(site, key)}
    current = _current(site, address, urls, needed=stored is None)
    yield current.document
    if stored is not None:
        yield {"answer": {"status": 200, "by": "the store"}}
    elif current.target is None or current.target.key != key:
        leading = {"status": 302, "by": "redirecting to the current variant"}
        yield {"headers": {"Cache-Control": "no-store"}, "answer": leading}
    else:
        _refuse_unrenderable(site, current.target, entry)
        yield {"answer": {"status": 200, "by": "rendering it now"}}


@dataclass(frozen=True, slots=True)
class _Current:
    """The variant that a key's URL means now; None: there is none."""

    target: Target | None
    document: Document


def _refuse_unrenderable(site: Site, target: Target, entry: Entry | None) -> None:
    """Raise the refusal that a request for this variant would get, as far as it is known before rendering.

    Reads the whole original, as a render does, because a store reports damage only on reading.
    """
    refuse_undecodable(target.original)
    refuse_failed(entry)
    check_original(site, target.key.tenant, target.original.sha256)


def _current(site: Site, address: Address, urls: Urls, *, needed: bool) -> _Current:
    """Return the variant that a key's URL means now.

    Raises:
        NotFound: there is none, although it is needed because the key's own variant is not stored.
    """
    assert address.key is not None
    try:
        target = _retargeted(site, address)
    except (NotFound, Forbidden):
        if needed:
            raise
        return _Current(None, {"current": None})
    document = {
        "key": str(target.key),
        "immutableUrl": urls.immutable(target.key),
        "isThis": target.key == address.key,
    }
    return _Current(target, {"current": document})


def _retargeted(site: Site, address: Address) -> Target:
    assert address.key is not None
    live, opened = site.settings.live, address.opened
    return retarget(_read(site, address), address.key, limit=site.limit, live=live, opened=opened)


def _read(site: Site, address: Address) -> Snapshot:
    with site.catalog.read(address.tenant) as tx:
        return read_shown(tx, address.pack_id)


def _policy(snapshot: Snapshot, config: Location, original: Original, form: RequestForm, *, is_live: bool) -> Document:
    policy = policy_for(snapshot, config.name)
    chosen = choose(policy, snapshot.tenant.format_policy, form)
    formats = config.formats or default_formats(original)
    return {
        "includeAll": {"value": policy.include_all, "from": policy.include_all_from},
        "mode": {"value": chosen.mode.value, "from": chosen.mode_from},
        "gravity": {"value": chosen.gravity.value, "from": chosen.gravity_from},
        "format": {"value": "original" if chosen.format is None else chosen.format.value, "from": chosen.format_from},
        "quality": {
            "value": "of the format" if chosen.quality is None else str(chosen.quality),
            "from": chosen.quality_from,
        },
        "upscale": {"value": config.allow_upscale or is_live, "from": "request" if is_live else "location"},
        "formats": {
            "value": [format.value for format in formats],
            "from": "default" if config.formats is None else "location",
        },
    }


def _on_demand(snapshot: Snapshot, asked_for: Target, site: Site, *, opened: bool) -> Document:
    """Return the tenant's on-demand policy, and the variant plan that it is applied to."""
    policy = snapshot.tenant.on_demand
    offered_ = offered(snapshot, asked_for.key.location, limit=site.limit)
    return {
        "policy": policy.name,
        "from": "tenant",
        "applies": policy is not OnDemand.ANY and asked_for.key not in offered_,
        "askedPlan": str(asked_for.key.plan),
        "opened": opened,
    }


def _original(original: Original) -> Document:
    return {
        "sha256": original.sha256,
        "width": original.width,
        "height": original.height,
        "mediaType": original.media_type,
        "frames": original.frames,
    }


def _entry(entry: Entry | None) -> Document | None:
    if entry is None:
        return None
    return {
        "state": entry.state.name,
        "attempts": entry.attempts,
        "errorCode": entry.error_code,
        "error": entry.error,
        "planned": entry.planned,
        "superseded": entry.superseded,
        "renderedAt": entry.rendered_at,
    }


def _look(site: Site, key: str) -> Stored | None:
    try:
        return site.variants.head(key)
    except DamagedObject:
        # A request for the image would delete and re-render it. An explanation changes nothing.
        return None


def _stored(stored: Stored | None) -> Document | None:
    if stored is None:
        return None
    return {"bytes": stored.size, "sha256": stored.sha256, "modifiedAt": stored.modified_at}


def _plain(value: Any) -> Any:
    """Return a result of `asdict` as JSON types: boxes and sizes as objects with named fields."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if hasattr(value, "_asdict"):
        return _plain(value._asdict())
    return value.value if isinstance(value, Enum) else value
