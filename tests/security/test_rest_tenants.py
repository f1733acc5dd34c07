"""The REST admin API answers for another tenant's objects exactly as for objects that do not exist."""

import re
from dataclasses import dataclass, field
from typing import Any

from serve.rest.table import OPERATIONS
from tests.security.test_tenants import NONEXISTENT, Tenants, _fill, _strike, database_url, tenants
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT

__all__ = ["database_url", "tenants"]

CROP = {"cropInfo": {"topLeftX": 0, "topLeftY": 0, "bottomRightX": 0.5, "bottomRightY": 0.5}}
PICTURE = jpeg(photo(16, 16))


@dataclass(frozen=True)
class Attempt:
    """The path and body of a request. `own` is a pack of the caller, `who` the caller's tenant."""

    named: dict[str, str] = field(default_factory=dict)
    body: Any = None
    query: str = ""
    content: bytes | None = None


NO_ADDRESS = "?imageUrl=ftp://host.invalid/a"
THEIRS, OWN = {"id": "{pack}", "location": "main"}, {"id": "{own}", "location": "{location}"}
PURGES = [
    Attempt({"tenant": "{their_tenant}", "id": "{pack}", "env": "eu"}),
    Attempt({"tenant": "{who}", "id": "{pack}", "env": "eu"}),
    Attempt({"tenant": "{their_tenant}", "id": "{own}", "env": "eu"}),
]
# By operation id, with the names of `test_tenants`.
ATTEMPTS = {
    "listImageLocationConfigs": [Attempt()],
    "getImageLocationConfig": [Attempt({"name": "{location}"})],
    "putImageLocationConfig": [
        Attempt({"name": "{location}"}, {"width": 10}),
        Attempt({"name": "{location}"}, {"width": 10}, "?force=true"),
        Attempt({"name": "mine"}, {"width": 10, "fallback": "{location}"}),
    ],
    "deleteImageLocationConfig": [Attempt({"name": "{location}"}, query=force) for force in ("", "?force=true")],
    "createImagePack": [
        Attempt(body={"assetId": "{asset}"}),
        Attempt(body={"mainImageLocation": "{location}"}),
        Attempt(body={"imageLocations": {"{location}": CROP}}),
    ],
    "getImagePack": [Attempt(THEIRS)],
    "putImagePack": [
        Attempt(THEIRS, {}),
        Attempt({"id": "{own}"}, {"assetId": "{asset}"}),
        Attempt({"id": "{own}"}, {"mainImageLocation": "{location}"}),
        Attempt({"id": "{own}"}, {"imageLocations": {"{location}": CROP}}),
    ],
    "deleteImagePack": [Attempt(THEIRS)],
    "getImagePackViaAsset": [Attempt({"assetId": "{asset}"})],
    "putImagePackLocation": [Attempt(THEIRS, CROP), Attempt(OWN, CROP)],
    "uploadImage": [Attempt(THEIRS, content=PICTURE), Attempt(OWN, content=PICTURE)],
    "fetchImage": [Attempt(THEIRS, {}, NO_ADDRESS), Attempt(OWN, {}, NO_ADDRESS)],
    "purgeImagePack": PURGES,
    "invalidateImagePack": PURGES,
}
STATE = """{ packs { nodes { id version } } locations { nodes { name version label } } jobs { nodes { id state } }
  purges { totalCount } }"""


def attempt(tenants: Tenants, operation: Any, tried: Attempt, known: dict[str, Any]) -> tuple[int, str]:
    """Send the request as a new tenant, and return the response without the names that the request contained."""
    tenant, own = tenants.newcomer()
    known = known | {"own": own, "who": tenant}
    path = operation.path.format(**{name: str(value) for name, value in _fill(tried.named, known).items()})
    headers = {"Authorization": f"Bearer {tenants.token(tenant)}"}
    sent: dict[str, Any] = {"content": tried.content} if tried.body is None else {"json": _named(tried.body, known)}
    answer = tenants.client.request(operation.method, path + tried.query, headers=headers, **sent)
    text = re.sub(r'"id":"[0-9a-f]{16}"|\d{4}-\d\d-\d\dT[\d:.]+Z|-\d{13}', "<fresh>", answer.text)
    return answer.status_code, _strike(text, known)


def _named(body: Any, known: dict[str, Any]) -> Any:
    """Fill in names, also in keys."""
    if isinstance(body, dict):
        return {_fill(name, known): _named(value, known) for name, value in body.items()}
    return _fill(body, known)


def test_every_operation_is_tried() -> None:
    assert set(ATTEMPTS) == {operation.id for operation in OPERATIONS}


def test_objects_of_another_tenant_look_nonexistent_and_do_not_change(tenants: Tenants) -> None:
    theirs, nonexistent = tenants.theirs | {"their_tenant": TENANT}, NONEXISTENT | {"their_tenant": "nonexistent"}
    before = tenants.ask(TENANT, STATE, {})
    for operation in OPERATIONS:
        for tried in ATTEMPTS[operation.id]:
            answered = attempt(tenants, operation, tried, theirs)
            assert answered == attempt(tenants, operation, tried, nonexistent), (operation.id, tried)
            assert answered[0] < 500, answered
    assert tenants.ask(TENANT, STATE, {}) == before


def test_the_same_requests_succeed_for_the_owner(tenants: Tenants) -> None:
    """So that the tenant of the caller is the only reason for a refusal."""
    known = tenants.theirs
    headers = {"Authorization": f"Bearer {tenants.token(TENANT)}"}
    paths = (f"imagePack/{known['pack']}", f"imageLocationConfig/{known['location']}", "imagePackViaAsset/4711")
    for path in paths:
        assert tenants.client.get(f"/adminAPI/{path}", headers=headers).status_code == 200
    purge = tenants.client.delete(f"/adminAPI/images/{TENANT}/{known['pack']}", headers=headers)
    assert purge.status_code == 202
