"""What web pages without a token get for a `<picture>` element."""

from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from packshot.catalog.tables.work import purges
from packshot.geometry import Crop
from packshot.model import Format
from packshot.variants.picture_request import PictureForm, parse_picture_request
from resolvers import packs
from tests.serve.conftest import TOKEN
from tests.support.pictures import photo
from tests.support.playground import TENANT, Playground

FIELDS = "src width height thumbhash dominantColor state sources { mediaType media sizes srcset width height }"


@pytest.fixture
def pack_id(playground: Playground) -> str:
    """A rendered pack with an original at `main` and a location `thumb` that falls back to it."""
    playground.location("thumb", width=160, height=90, fallback="main")
    pack_id = playground.pack(picture=photo(600, 400))
    playground.run_jobs()
    return pack_id


def by_graphql(client: TestClient, pack_id: str, location: str, arguments: str = "") -> Any:
    picture = f"picture{arguments} {{ {FIELDS} }}"
    query = f'{{ pack(by: {{id: "{pack_id}"}}) {{ location(name: "{location}") {{ {picture} }} }} }}'
    answer = client.post("/graphql", json={"query": query}, headers={"Authorization": f"Bearer {TOKEN}"})
    return answer.json()["data"]["pack"]["location"]["picture"]


def test_picture_json_equals_the_picture_of_graphql(client: TestClient, pack_id: str) -> None:
    url = f"/api/v2/img/{pack_id}/picture.json"
    asked = {
        "": ("main", ""),
        "?location=thumb": ("thumb", ""),
        "?widths=80,40&location=thumb": ("thumb", "(widths: [40, 80])"),
        "?location=thumb&formats=jpeg,webp&SIZES=50vw": ("thumb", '(formats: [WEBP, JPEG], sizes: "50vw")'),
    }
    for query, (location, arguments) in asked.items():
        answer = client.get(url + query)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == by_graphql(client, pack_id, location, arguments)
    assert client.get(f"/api/v2/img/{pack_id}-17/picture.json?location=").json() == client.get(url).json()


def test_all_urls_in_picture_json_yield_images(client: TestClient, pack_id: str) -> None:
    picture = client.get(f"/api/v2/img/{pack_id}/picture.json?location=thumb&widths=40,80").json()
    urls = [part.split()[0] for source in picture["sources"] for part in source["srcset"].split(", ")]
    assert len(urls) == 6
    for url in [picture["src"], *urls]:
        assert client.get(url).status_code == 200


def test_picture_json_is_cached_like_a_stable_url_once_all_variants_are_rendered(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    url = f"/api/v2/img/{pack_id}/picture.json?location=thumb"
    ready = client.get(url)
    assert ready.json()["state"] == "READY"
    assert ready.headers["cache-control"] == client.get(f"/api/v2/img/{pack_id}").headers["cache-control"]
    assert ready.headers["access-control-allow-origin"] == "*"
    assert ready.headers["x-content-type-options"] == "nosniff"
    packs.set_crop(playground.caller, pack_id, "thumb", Crop(0.5, 0.5, 1, 1))
    pending = client.get(url)
    assert pending.json()["state"] == "PENDING"
    assert pending.json()["src"] != ready.json()["src"]
    assert pending.headers["cache-control"] == "public, max-age=2"


def test_picture_json_leaves_out_formats_that_are_not_offered(client: TestClient, pack_id: str) -> None:
    url = f"/api/v2/img/{pack_id}/picture.json?location=thumb&widths=40"
    for formats, left in (("gif,jpeg,webp", ["image/webp", "image/jpeg"]), ("gif", ["image/jpeg"])):
        found = client.get(f"{url}&formats={formats}").json()
        assert [source["mediaType"] for source in found["sources"]] == left
        urls = [
            found["src"],
            *(each.split()[0] for source in found["sources"] for each in source["srcset"].split(", ")),
        ]
        assert {client.get(url.removeprefix("http://testserver")).status_code for url in urls} == {200}


def test_picture_json_answers_304_to_a_matching_etag(client: TestClient, pack_id: str) -> None:
    url = f"/api/v2/img/{pack_id}/picture.json"
    etag = client.get(url).headers["etag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        answer = client.get(url, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
        assert "cache-control" in answer.headers
    assert client.get(url, headers={"If-None-Match": '"other"'}).status_code == 200
    head = client.head(url)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", etag)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("widths=", "widths"),
        ("widths=40,,80", "widths"),
        ("widths=+40", "widths"),
        ("widths=1e3", "widths"),
        ("widths=0", "widths"),
        ("widths=99999", "widths.0"),
        ("widths=" + ",".join(str(width) for width in range(1, 34)), "widths"),
        ("formats=bmp", "formats"),
        ("formats=", "formats"),
    ],
)
def test_picture_json_refuses_invalid_values_and_says_what_is_expected(
    client: TestClient, pack_id: str, query: str, parameter: str
) -> None:
    answer = client.get(f"/api/v2/img/{pack_id}/picture.json?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["parameter"] == parameter
    assert answer.json()["expected"]


def test_picture_json_gives_404_for_a_missing_pack_and_410_for_an_erased_one(
    client: TestClient, playground: Playground, pack_id: str
) -> None:
    empty = packs.create_pack(playground.caller, {}).pack.id
    for path in (f"{pack_id}/picture.json?location=nowhere", f"{empty}/picture.json", f"{'0' * 24}/picture.json"):
        answer = client.get(f"/api/v2/img/{path}")
        assert (answer.status_code, answer.headers["cache-control"]) == (404, "public, max-age=2")
    assert client.get("/api/v2/img/no-pack/picture.json").status_code == 404
    packs.erase_pack(playground.caller, pack_id, "the rights have ended")
    assert client.get(f"/api/v2/img/{pack_id}/picture.json").status_code == 410


FORMS = st.builds(
    PictureForm,
    location=st.none() | st.text(max_size=12),
    widths=st.none() | st.sets(st.integers(1, 9999), min_size=1).map(lambda found: tuple(sorted(found))),
    formats=st.none() | st.sets(st.sampled_from(Format), min_size=1).map(lambda found: tuple(sorted(found))),
    sizes=st.none() | st.text(max_size=12),
)


@given(FORMS)
def test_a_picture_form_survives_a_round_trip_through_its_query(form: PictureForm) -> None:
    assert parse_picture_request(form.query()) == form


def test_a_change_of_a_locations_formats_purges_its_picture_json(playground: Playground, pack_id: str) -> None:
    def purged() -> set[str]:
        with playground.site.catalog.read(TENANT) as tx:
            return {tag for row in tx.connection.execute(sa.select(purges.c.tags)) for tag in row.tags}

    playground.location("cover", width=10, fallback="main")
    assert "l:default:thumb" not in purged()
    playground.location("thumb", label="Thumbnail")
    assert "l:default:thumb" not in purged()
    playground.location("thumb", formats=[Format.WEBP])
    assert "l:default:thumb" in purged()
