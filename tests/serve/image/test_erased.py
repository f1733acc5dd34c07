"""URLs of an erased pack answer 410 from the mutation on."""

import time

import pytest
from starlette.testclient import TestClient

from packshot.catalog.database.transaction import Catalog, DatabaseFault
from resolvers import packs
from resolvers.packs import erase_pack
from serve.image import erased
from tests.pregen.services.test_eraser import finish
from tests.support.playground import Playground


def assert_gone(client: TestClient, urls: list[str]) -> None:
    for url in urls:
        answer = client.get(url)
        assert answer.status_code == 410, url
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "public, max-age=2"
        assert answer.json()["code"] == "GONE"


def test_every_url_of_an_erased_pack_answers_410(
    client: TestClient, playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erased, "FRESH", 0.0)
    playground.location("thumb", width=60, fallback="main")
    pack_id, deleted = playground.pack(), playground.pack()
    playground.run_jobs()
    urls = [f"/i/{key}" for key in playground.planned(pack_id)]
    urls += [f"/api/v2/img/{pack_id}", f"/api/v2/img/{pack_id}?location=thumb&width=9", f"/api/v2/img/{pack_id}-123"]
    left = [f"/i/{key}" for key in playground.planned(deleted)]
    assert {client.get(url).status_code for url in urls + left} == {200}
    packs.delete_pack(playground.caller, deleted)
    assert {client.get(url).status_code for url in left} == {200}, (
        "variants of a deleted pack stay for the grace period"
    )
    erase_pack(playground.caller, pack_id, "the rights have ended")
    erase_pack(playground.caller, deleted, "the rights have ended")
    assert_gone(client, urls + left)
    finish(playground)
    assert_gone(client, urls + left)
    assert client.get(f"/api/v2/img/{'0' * 24}").status_code == 404


def test_stored_variants_are_served_during_an_outage_of_the_database(
    client: TestClient, playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_id = playground.pack()
    playground.run_jobs()
    urls = [f"/i/{key}" for key in playground.planned(pack_id)]
    asked: list[float] = []

    def away(self: Catalog, tenant: str) -> None:
        asked.append(time.monotonic())
        raise DatabaseFault("SELECT", {}, OSError("away"))

    monkeypatch.setattr(Catalog, "read", away)
    assert [client.get(url).status_code for url in urls] == [200] * len(urls)
    assert len(asked) == 1, "an unavailable database is not queried for each image"
