"""A fault gives the client an error id, and the log has the traceback with that id."""

import logging
import re

import pytest

from resolvers import packs
from tests.schema.api import Api


def _break(*_: object, **__: object) -> None:
    raise RuntimeError("secret detail")


def test_a_fault_in_a_query_gives_an_error_id_that_the_log_contains(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(packs, "list_packs", _break)
    with caplog.at_level(logging.ERROR):
        error = api.error("{ packs { totalCount } }")
    assert error["path"] == ["packs"]
    assert error["extensions"]["code"] == "INTERNAL"
    found = re.search(r"error id ([0-9a-f]{16})", error["message"])
    assert found is not None
    assert "secret" not in str(error)
    assert [found[1] in record.getMessage() for record in caplog.records] == [True]
    assert "secret detail" in caplog.text
    assert "Traceback" in caplog.text


def test_a_fault_in_a_mutation_nulls_only_its_payload(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "delete_pack", _break)
    result = api.run(
        """mutation { deletePack(id: "x") { userErrors { code } }
          putLocation(input: {name: "a", width: 1}) { userErrors { code } } }"""
    )
    assert result.data == {"deletePack": None, "putLocation": {"userErrors": []}}
    assert result.errors is not None
    assert [error.path for error in result.errors] == [["deletePack"]]
    assert "secret" not in str(result.errors)


@pytest.mark.parametrize(
    "document",
    [
        "{",
        "{ nothing }",
        "{ packs(first: 1.5) { totalCount } }",
        "query A($a: Int!) { packs(first: $a) { totalCount } }",
    ],
)
def test_a_clients_mistake_is_answered_and_not_logged(
    api: Api, document: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="strawberry"), caplog.at_level(logging.INFO):
        result = api.run(document)
    assert result.errors
    assert "error id" not in str(result.errors)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
