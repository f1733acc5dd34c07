"""Documents above a limit are refused before anything is executed."""

import asyncio
import time
from typing import Any

import pytest
from graphql import get_introspection_query

from schema.build import schema
from schema.execution.documents import Documents
from schema.request.context import Context
from tests.schema.api import Api


def nested(levels: int) -> str:
    """Return a query with so many levels, including a leaf."""
    inside = "id"
    for number in reversed(range(levels - 3)):
        inside = ("pack" if number % 2 else 'location(name: "main")') + f" {{ {inside} }}"
    return f"{{ packs {{ nodes {{ {inside} }} }} }}"


def test_at_most_15_levels_are_allowed(api: Api) -> None:
    assert api.run(nested(15)).errors is None
    error = api.error(nested(16))
    assert error["extensions"]["code"] == "LIMIT"
    assert "16 levels" in error["message"]


def test_at_most_50_aliases_are_allowed(api: Api) -> None:
    assert api.run("{" + " ".join(f"a{n}: __typename" for n in range(50)) + "}").errors is None
    assert "51 aliases" in api.error("{" + " ".join(f"a{n}: __typename" for n in range(51)) + "}")["message"]
    shared = "fragment F on Query { " + " ".join(f"a{n}: __typename" for n in range(26)) + " } { ...F ...F }"
    assert "52 aliases" in api.error(shared)["message"]


def test_at_most_5000_tokens_are_allowed(api: Api) -> None:
    # The refusal comes from the field, so the document was accepted.
    assert api.error("{ nodes(ids: [" + " 1" * 4980 + "]) { id } }")["path"] == ["nodes"]
    assert "5000 tokens" in api.error("{ nodes(ids: [" + " 1" * 5000 + "]) { id } }")["message"]


def test_a_field_may_be_repeated_at_most_200_times(api: Api) -> None:
    assert api.run("{" + " packs { totalCount }" * 101 + "}").errors is None
    assert "200 times" in api.error("{" + " packs { totalCount }" * 102 + "}")["message"]
    shared = " ".join(f"fragment F{n} on Query {{ packs {{ totalCount }} }}" for n in range(102))
    assert "200 times" in api.error("{" + " ".join(f"...F{n}" for n in range(102)) + "}" + shared)["message"]


def test_fields_of_a_fragment_count_at_each_spread(api: Api) -> None:
    twice = "a: locations {{ pack {{ ...F{0} }} }} b: locations {{ pack {{ ...F{0} }} }}"
    levels = [f"fragment F{n} on Pack {{ {twice.format(n + 1)} }}" for n in range(12)]
    document = "{ packs { nodes { ...F0 } } } " + " ".join(levels) + " fragment F12 on Pack { id }"
    assert "5000 fields" in api.error(document)["message"]


@pytest.mark.parametrize(
    "document",
    [
        "{ ...F0 } "
        + " ".join(f"fragment F{n} on Query {{ ...F{n + 1} ...F{n + 1} }}" for n in range(200))
        + " fragment F200 on Query { __typename }",
        "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
        "{ ...A } fragment A on Query { node(id: 1) { id } ...A }",
        "{ ...Unknown }",
        "{" * 2000,
        "{ a" * 1000,
        '{ nodes(ids: "' + '"' * 3000,
    ],
)
def test_malicious_documents_are_answered_quickly(api: Api, document: str) -> None:
    began = time.monotonic()
    api.run(document)
    # Without the limits these documents would take years.
    assert time.monotonic() - began < 5


def test_at_most_200_fragments_are_allowed(api: Api) -> None:
    def document(number: int) -> str:
        spread = " ".join(f"...F{n}" for n in range(number))
        return f"{{ {spread} }} " + " ".join(f"fragment F{n} on Query {{ __typename }}" for n in range(number))

    assert api.run(document(200)).errors is None
    assert "200 fragments" in api.error(document(201))["message"]


def test_variables_must_be_an_object_with_a_bounded_number_of_values(api: Api) -> None:
    assert api.error("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=["a"] * 19_000)["path"] == ["nodes"]
    error = api.error("query($ids: [ID!]!) { nodes(ids: $ids) { id } }", ids=["a"] * 20_000)
    assert (error["extensions"], "path" in error) == ({"code": "LIMIT"}, False)
    malformed: list[Any] = [[], "text", 5]
    for variables in malformed:
        result = asyncio.run(
            schema.execute("{ viewer { subject } }", variable_values=variables, context_value=Context(api.caller))
        )
        (refused,) = result.errors or []
        assert result.data is None
        assert refused.extensions is not None
        # An empty list cannot be told apart from empty variables.
        assert refused.extensions["code"] == "INVALID"


def test_cached_documents_use_bounded_memory() -> None:
    kept = Documents(max_tokens=100)
    texts = [f"{{ {' '.join(f'a{number}: id' for _ in range(8))} }}" for number in range(10)]
    first = kept.parse(texts[0])
    assert kept.parse(texts[0]) is first, "a recent document is parsed once"
    for text in texts[1:]:
        kept.parse(text)
    assert kept._tokens <= 100
    assert kept.parse(texts[0]) is not first
    large = "{ " + "id " * 500 + "}"
    assert kept.parse(large) is kept.parse(large), "the newest document is always kept"
    assert len(kept._entries) == 1


def test_texts_that_a_database_cannot_store_are_refused(api: Api) -> None:
    document = "query P($by: PackBy!) { pack(by: $by) { id } }"
    for text in ("a\x00b", "\ud800"):
        assert api.error(document, by={"externalId": text})["extensions"] == {"code": "INVALID"}
    assert api.error(r'{ pack(by: {externalId: "a\u0000"}) { id } }')["extensions"] == {"code": "INVALID"}
    assert api.data(document, by={"externalId": "💥"}) == {"pack": None}


def test_the_usual_introspection_query_is_within_the_limits(api: Api) -> None:
    options = {"input_value_deprecation": True, "schema_description": True, "directive_is_repeatable": True}
    assert api.run(get_introspection_query(descriptions=True, **options)).errors is None
