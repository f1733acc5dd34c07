"""Originals from URLs: fetched, recognized by their bytes, checked, and refused with a reason."""

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from tests.schema.api import USER_ERRORS, Api
from tests.servers.host import Answer, Host, giving
from tests.support.pictures import jpeg, photo, png
from tests.support.playground import TENANT

SET = f"""
mutation Original($pack: ID!, $location: String!, $url: URL!) {{
  setOriginal(packId: $pack, location: $location, source: {{url: $url}}) {{
    packLocation {{ original {{ sha256 width height mediaType bytes }} }} pack {{ version }} job {{ state total }}
    {USER_ERRORS}
  }}
}}"""


@pytest.fixture
def allowed(api: Api) -> Api:
    """Return a client of an installation that may fetch from the tests' own host."""
    settings = api.playground.settings.model_copy(update={"fetch_allow": "127.0.0.1", "max_upload_bytes": 200_000})
    api.caller = replace(api.caller, site=api.playground.with_settings(settings))
    return api


def test_a_fetched_original_has_the_media_type_of_its_bytes(allowed: Api, host: Host) -> None:
    data = png(photo(40, 30))
    host.answers["/a.jpg"] = giving(data, Content_Type="text/html")
    pack_id = allowed.playground.pack()
    shown = allowed.payload(SET, pack=pack_id, location="main", url=host.url("/a.jpg"))
    assert shown["packLocation"]["original"] == {
        "sha256": sha256(data).hexdigest(),
        "width": 40,
        "height": 30,
        "mediaType": "image/png",
        "bytes": len(data),
    }
    assert shown["job"]["total"] > 0
    assert list(allowed.caller.site.incoming.iterdir()) == []
    assert sha256(data).hexdigest() in "".join(allowed.caller.site.originals.list(TENANT))


def _missing(handler: Any) -> None:
    handler.send_error(404)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (_missing, "FETCH_FAILED"),
        (giving(b"<html>no picture</html>", Content_Type="image/jpeg"), "UNSUPPORTED_MEDIA"),
        (giving(jpeg(photo(200, 200))[:-2000]), "UNRENDERABLE"),
        (giving(b"x" * 200_001), "TOO_LARGE"),
    ],
)
def test_a_fetched_file_is_refused_for_the_same_reasons_as_an_upload(
    allowed: Api, host: Host, answer: Answer, code: str
) -> None:
    pack_id = allowed.playground.pack()
    before = allowed.playground.snapshot(pack_id)
    host.answers["/a"] = answer
    error = allowed.refusal(SET, pack=pack_id, location="main", url=host.url("/a"))
    assert (error["code"], error["field"]) == (code, ["source", "url"])
    assert allowed.playground.snapshot(pack_id) == before
    assert list(allowed.caller.site.incoming.iterdir()) == []


def test_a_url_in_the_internal_network_is_not_fetched(api: Api, host: Host) -> None:
    pack_id = api.playground.pack()
    error = api.refusal(SET, pack=pack_id, location="main", url=host.url("/a"))
    assert (error["code"], error["field"]) == ("FETCH_BLOCKED", ["source", "url"])
    assert host.requests == []


@pytest.mark.parametrize("change", [{"pack": "0" * 24}, {"location": "nowhere"}])
def test_nothing_is_fetched_for_an_unknown_pack_or_location(allowed: Api, host: Host, change: dict[str, str]) -> None:
    arguments = {"pack": allowed.playground.pack(), "location": "main"} | change
    assert allowed.refusal(SET, **arguments, url=host.url("/a"))["code"] == "NOT_FOUND"
    assert host.requests == []
