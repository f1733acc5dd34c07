"""Explanations of live URLs agree with their responses."""

import pytest
from starlette.testclient import TestClient

from tests.serve.conftest import TOKEN
from tests.serve.live.conftest import Opening
from tests.support.command import Command
from tests.support.pictures import photo
from tests.support.playground import Playground

ADMIN = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def film(playground: Playground) -> str:
    return playground.pack(picture=photo(60, 40), external_id="film")


def test_an_explanation_of_a_live_url_ends_in_its_response(client: TestClient, film: str) -> None:
    url = "/live/film_120_120.jpg?fit=crop&explain=1"
    told = client.get(url, headers=ADMIN).json()
    assert (told["kind"], told["image"], told["pack"]) == ("live", "film", film)
    assert told["policy"]["upscale"] == {"value": True, "from": "request"}
    assert told["answer"] == {"status": 200, "by": "rendering it now"}
    shown = client.get(url)
    assert shown.headers["content-location"] == "/i/" + told["key"]
    assert {name.lower() for name in told["headers"]} <= shown.headers.keys()
    assert client.get(url, headers=ADMIN).json()["answer"]["by"] == "the store"


def test_redirects_of_live_urls_are_explained(opening: Opening, film: str) -> None:
    client = opening(public_url="https://cdn.example", max_width=100)
    url = "/live/film_90_90.jpg?explain=1"
    client.get(url)
    told, answer = client.get(url, headers=ADMIN).json(), client.get(url)
    assert told["answer"]["status"] == answer.status_code == 307
    assert told["immutableUrl"] == answer.headers["location"]
    assert told["headers"] == {"Cache-Control": answer.headers["cache-control"]}
    beyond = client.get("/live/film_200_50.png?explain=1", headers=ADMIN).json()
    assert beyond["answer"] == {
        "status": 307,
        "by": "redirecting to the equal request within the limit, film_100_50.png",
    }


def test_refusals_of_live_urls_are_explained(client: TestClient, film: str) -> None:
    told = client.get("/live/absent_9_9.jpg?explain=1", headers=ADMIN).json()
    assert (told["image"], told["refusal"]["status"]) == ("absent", 404)
    assert client.get("/live/film.jpg?explain=1", headers=ADMIN).status_code == 400


def test_the_command_explains_live_urls(playground: Playground, film: str) -> None:
    told = Command(playground).json("explain", "https://images.example/live/film_30_30_2x.png")
    assert (told["kind"], told["plan"]) == ("live", "w60-h40-clip-center.png")
