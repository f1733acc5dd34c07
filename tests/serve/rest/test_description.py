"""The description of the API; schemathesis checks that a running server keeps to it."""

import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from packshot.variants.picture_request import PictureForm, parse_picture_request
from packshot.variants.request import RequestForm, parse_request
from serve.rest.openapi import describe
from serve.rest.schemas import SCHEMAS
from tests.support.pictures import jpeg, photo
from tests.support.server import TOKEN, Server, serving

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = list(schemathesis.openapi.from_dict(describe()).get_all_operations())
DESCRIBED = [operation.ok() for operation in OPERATIONS if isinstance(operation, Ok)]
assert len(DESCRIBED) == len(OPERATIONS), "every operation is described as OpenAPI prescribes"
# An operation without a body, or with a free text, has no wrong type of input.
NEVER_WRONG = ("/imageLocationConfigs", "/{plan}")
ATTEMPTS = [
    pytest.param(operation, mode, id=f"{operation.label} {mode.value}")
    for operation in DESCRIBED
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or not operation.label.endswith(NEVER_WRONG)
]
AUTHORISED = {"Authorization": f"Bearer {TOKEN}"}
EXAMPLES = 15
PICTURE = jpeg(photo(60, 40))


@pytest.fixture
def database_url() -> None:
    """SQLite only: the other tests of the API run on both databases."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("rest") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """The id of the newest pack."""
    return {}


@pytest.fixture
def there(server: Server, made: dict[str, str]) -> dict[str, str]:
    """Create what paths name: a location, and a pack with an original. It runs again after an attempt deleted one."""
    client, admin = server.client, "/adminAPI"
    if client.get(f"{admin}/imageLocationConfig/there", headers=AUTHORISED).status_code == 404:
        location = client.put(f"{admin}/imageLocationConfig/there", json={"width": 30}, headers=AUTHORISED)
        assert location.status_code == 200
    if client.get(f"{admin}/imagePack/{made.get('id')}", headers=AUTHORISED).status_code == 404:
        made["id"] = client.post(f"{admin}/imagePacks", json={}, headers=AUTHORISED).json()["id"]
        path = f"{admin}/imagePack/{made['id']}/main/upload"
        assert client.post(path, content=PICTURE, headers=AUTHORISED).status_code == 200
    return {"id": made["id"], "name": "there", "location": "there", "tenant": "default"}


@pytest.mark.parametrize(("operation", "mode"), ATTEMPTS)
def test_the_running_server_answers_as_it_is_described(
    server: Server, there: dict[str, str], operation: Any, mode: GenerationMode
) -> None:
    session, statuses = requests.Session(), set[int]()

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    @given(case=operation.as_strategy(generation_mode=mode), named=st.sampled_from([(), ("id",), tuple(there)]))
    def attempt(case: Any, named: tuple[str, ...]) -> None:
        for name in set(named) & set(case.path_parameters or {}):
            case.path_parameters[name] = there[name]
        answer = case.call_and_validate(base_url=server.base, session=session, headers=AUTHORISED, checks=CHECKS)
        statuses.add(answer.status_code)

    with session:
        attempt()
    assert statuses, "nothing was asked"
    assert max(statuses) < 500


def test_the_description_is_public(client: TestClient) -> None:
    answer = client.get("/adminAPI/openapi.json")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json() == describe()
    assert answer.json()["openapi"].startswith("3.1")


def test_every_example_fits_its_schema() -> None:
    root = {"components": {"schemas": SCHEMAS}}
    for name, schema in SCHEMAS.items():
        validator = Draft202012Validator({**root, "$ref": f"#/components/schemas/{name}"}, validate_formats=True)
        for example in schema.get("examples", []):
            validator.validate(example)
    for path, methods in describe()["paths"].items():
        for method, operation in methods.items():
            for parameter in operation["parameters"]:
                assert "example" in parameter, (method, path, parameter["name"])
                Draft202012Validator(parameter["schema"]).validate(parameter["example"])


def test_the_image_endpoints_are_described_with_the_parameters_that_they_read() -> None:
    kinds: list[tuple[str, Any, Callable[[str], Any]]] = [
        ("/api/v2/img/{id}", RequestForm, parse_request),
        ("/api/v2/img/{id}/picture.json", PictureForm, parse_picture_request),
    ]
    for path, form, parse in kinds:
        described = {
            each["name"]: each for each in describe()["paths"][path]["get"]["parameters"] if each["in"] == "query"
        }
        read = {field.name.replace("_", "-") for field in fields(form)}
        # The description also names parameters that are ignored, because old clients send them.
        assert described.keys() - {"region", "date"} == read
        for name in read:
            schema = described[name]["schema"]
            limits = [schema[limit] for limit in ("minimum", "maximum") if limit in schema]
            for value in (described[name]["example"], *schema.get("enum", ()), *limits):
                spelled = str(value).lower() if isinstance(value, bool) else str(value)
                assert getattr(parse(f"{name}={spelled}"), name.replace("-", "_")) is not None


def test_exactly_the_described_paths_are_routed(client: TestClient) -> None:
    described = {(path, method.upper()) for path, methods in describe()["paths"].items() for method in methods}
    for path, method in described:
        named = re.sub(r"{\w+}", "x", path)
        told = client.request(method, named, headers={"Sec-Fetch-Site": "none"})
        # The request had no credentials, or the pack does not exist; a path that does not exist has another text.
        assert told.status_code == (401 if "-lof/" in named or "adminAPI" in named else 404), path
        assert "This path does not exist." not in told.text


def bodies(name: str) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield bodies of one field that is empty or a boolean, and whether the description allows each."""
    validator = Draft202012Validator(
        {"components": {"schemas": SCHEMAS}, "$ref": f"#/components/schemas/{name}"}, validate_formats=True
    )
    for field in SCHEMAS[name]["properties"]:
        values: list[Any] = [None, "", True, False, {}, []]
        for value in values:
            yield {field: value}, validator.is_valid({field: value})


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("ImageLocationConfigInput", "imageLocationConfig/there?force=true"),
        ("ImagePackInput", "imagePack/{id}"),
        ("PackLocationInput", "imagePack/{id}/main"),
    ],
)
def test_the_fields_that_may_be_empty_or_a_boolean_are_those_that_are_described_so(
    server: Server, there: dict[str, str], schema: str, path: str
) -> None:
    place = f"/adminAPI/{path.format(**there)}"
    for body, is_allowed in bodies(schema):
        # A location needs one side, so a body of one field cannot clear both.
        answer = server.client.put(place, json={"height": 20} | body if "width" in body else body, headers=AUTHORISED)
        assert (answer.status_code == 200) == is_allowed, (body, answer.text)


def test_the_query_parameters_that_may_be_empty_are_those_that_are_described_so(
    server: Server, there: dict[str, str]
) -> None:
    for path in ("/api/v2/img/{id}", "/api/v2/img/{id}/picture.json"):
        for parameter in describe()["paths"][path]["get"]["parameters"]:
            if parameter["in"] == "query":
                answer = server.client.get(f"{path.format(**there)}?{parameter['name']}=")
                assert (answer.status_code == 200) == parameter.get("allowEmptyValue", False), parameter["name"]


def test_the_order_of_a_crops_corners_is_described_and_holds(server: Server, there: dict[str, str]) -> None:
    assert "topLeftX is less than bottomRightX" in SCHEMAS["CropInfo"]["description"]
    corners = {"topLeftX": 0.9, "topLeftY": 0, "bottomRightX": 0.1, "bottomRightY": 1}
    answer = server.client.put(
        f"/adminAPI/imagePack/{there['id']}/main", json={"cropInfo": corners}, headers=AUTHORISED
    )
    assert answer.status_code == 400, answer.text
