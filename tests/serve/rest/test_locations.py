"""Location configs as the old service's clients write and read them."""

import re
from typing import Any

import pytest
from starlette.testclient import TestClient

from packshot.geometry import Gravity
from packshot.model import IncludeAll
from resolvers import locations
from tests.serve.rest.conftest import Rest
from tests.support.pictures import photo
from tests.support.playground import Playground

CONFIG = {"label": "Portal cover", "width": 300, "height": 450, "fallback": "main", "resizeGravity": "north"}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def test_a_location_is_created_with_200_and_returned(rest: Rest) -> None:
    made = rest.put("imageLocationConfig/portal-cover", CONFIG | {"useResizeIncludeAll": "TRUE"})
    assert MOMENT.fullmatch(made["added"])
    assert made["updated"] == made["added"]
    times = {name: made[name] for name in ("added", "updated")}
    assert made == {"name": "portal-cover", **CONFIG, "useResizeIncludeAll": "TRUE", **times}
    assert rest.get("imageLocationConfig/portal-cover") == made
    main, cover = rest.get("imageLocationConfigs")
    assert (main["name"], cover) == ("main", made)


def test_fields_without_a_value_are_left_out_and_a_response_can_be_put(rest: Rest, playground: Playground) -> None:
    main = rest.get("imageLocationConfig/main")
    assert set(main) == {"name", "useResizeIncludeAll", "added", "updated"}
    playground.pack(picture=photo(60, 40))
    again = rest.put("imageLocationConfig/main", main)
    assert again == main, "nothing changes, so nothing needs force"


def test_put_leaves_absent_fields_and_clears_by_null(rest: Rest, playground: Playground) -> None:
    rest.put("imageLocationConfig/thumb", CONFIG)
    changed = rest.put("imageLocationConfig/thumb", {"width": 320})
    assert {name: changed[name] for name in CONFIG} == CONFIG | {"width": 320}
    rest.put("imageLocationConfig/thumb", {"label": None, "height": None, "fallback": None, "resizeGravity": None})
    left = locations.get_location(playground.caller, "thumb")
    assert left is not None
    assert (left.label, left.width, left.height, left.fallback, left.resize_gravity) == (None, 320, None, None, None)


@pytest.mark.parametrize(
    ("spelled", "meant"),
    [
        ({"resizeGravity": "NORTH"}, (Gravity.NORTH, IncludeAll.UNSET)),
        ({"resizeGravity": "north-west"}, (Gravity.NORTHWEST, IncludeAll.UNSET)),
        ({"resizeGravity": "SOUTH_EAST"}, (Gravity.SOUTHEAST, IncludeAll.UNSET)),
        ({"useResizeIncludeAll": "true"}, (None, IncludeAll.TRUE)),
        ({"useResizeIncludeAll": False}, (None, IncludeAll.FALSE)),
        ({"useResizeIncludeAll": None}, (None, IncludeAll.UNSET)),
    ],
)
def test_enumerations_are_read_as_leniently_as_clients_write_them(
    rest: Rest, playground: Playground, spelled: dict[str, Any], meant: Any
) -> None:
    rest.put("imageLocationConfig/thumb", {"width": 10} | spelled)
    found = locations.get_location(playground.caller, "thumb")
    assert found is not None
    assert (found.resize_gravity, found.include_all) == meant


def test_a_change_of_what_packs_show_is_answered_with_its_plan_and_done_with_force(
    rest: Rest, client: TestClient, playground: Playground
) -> None:
    rest.put("imageLocationConfig/thumb", CONFIG)
    pack_id = playground.pack(picture=photo(600, 600))
    playground.run_jobs()
    refused = rest.put("imageLocationConfig/thumb", {"width": 100, "resizeGravity": "south"}, status=409)
    assert (refused["code"], refused["parameter"], refused["expected"]) == ("FORCE_REQUIRED", "force", "true")
    plan = refused["plan"]
    assert (plan["packs"], plan["render"], plan["requiresForce"]) == (1, 6, True)
    assert {change["field"]: (change["before"], change["after"]) for change in plan["changes"]} == {
        "width": (300, 100),
        "resizeGravity": ("north", "south"),
    }
    assert rest.get("imageLocationConfig/thumb")["width"] == 300, "a refusal changes nothing"
    done = rest.put("imageLocationConfig/thumb?force=true", {"width": 100})
    assert done["width"] == rest.get("imageLocationConfig/thumb")["width"] == 100
    shown = client.get(f"/api/v2/img/{pack_id}?location=thumb")
    assert shown.headers["content-location"].endswith("/w100-h450-crop-center-q80.jpg"), "live with the answer"


def test_a_label_needs_no_force(rest: Rest, playground: Playground) -> None:
    playground.pack(picture=photo(60, 40))
    assert rest.put("imageLocationConfig/main", {"label": "The main one"})["label"] == "The main one"


def test_a_location_in_use_is_deleted_with_force_alone(rest: Rest, playground: Playground) -> None:
    rest.put("imageLocationConfig/thumb", CONFIG)
    playground.pack(picture=photo(60, 40), at="thumb")
    assert rest.delete("imageLocationConfig/thumb", status=409)["code"] == "IN_USE"
    assert rest.delete("imageLocationConfig/thumb?force=true") == {"name": "thumb"}
    assert rest.get("imageLocationConfig/thumb", status=404)["code"] == "NOT_FOUND"
    assert rest.delete("imageLocationConfig/thumb", status=404)["parameter"] == "name"
    assert rest.delete("imageLocationConfig/main?force=true", status=409)["code"] == "BAD_STATE"


@pytest.mark.parametrize(
    ("body", "status", "parameter", "expected"),
    [
        ({"width": "300"}, 400, "width", "a whole number"),
        ({"width": 1.5}, 400, "width", "a whole number"),
        ({"width": True}, 400, "width", "a whole number"),
        ({"width": 0}, 400, "width", "1 to 4096"),
        ({"width": 1e30}, 400, "width", "within ±9007199254740991"),
        ({"label": 7}, 400, "label", "a text"),
        ({"width": 10, "label": "x" * 256}, 400, "label", "at most 255 characters"),
        ({"label": "a\0b"}, 400, "label", "a text without \\u0000"),
        ({"fallback": "a\0b"}, 400, "fallback", "a text without \\u0000"),
        ({"width": 10, "fallback": "nowhere"}, 404, "fallback", "main"),
        ({"resizeGravity": "up"}, 400, "resizeGravity", "center, north"),
        ({"useResizeIncludeAll": "MAYBE"}, 400, "useResizeIncludeAll", "UNSET, TRUE or FALSE"),
        ({"useResizeIncludeAll": 1}, 400, "useResizeIncludeAll", "UNSET, TRUE or FALSE"),
        ({"name": "other"}, 400, "name", "thumb"),
        ({}, 400, "width", "a number of pixels"),
    ],
)
def test_what_does_not_fit_is_named_and_changes_nothing(
    rest: Rest, body: dict[str, Any], status: int, parameter: str, expected: str
) -> None:
    told = rest.put("imageLocationConfig/thumb", body, status=status)
    assert told["parameter"] == parameter
    assert expected in told["expected"]
    rest.get("imageLocationConfig/thumb", status=404)


@pytest.mark.parametrize("name", ["Thumb", "a_b", "x" * 64, "%00", "-thumb", "%c3%a9"])
def test_a_name_that_does_not_fit_is_refused_and_not_found(rest: Rest, name: str) -> None:
    assert rest.put(f"imageLocationConfig/{name}", {"width": 10}, status=400)["parameter"] == "name"
    rest.get(f"imageLocationConfig/{name}", status=404)
    rest.delete(f"imageLocationConfig/{name}", status=404)


def test_a_chain_that_comes_back_is_refused(rest: Rest) -> None:
    rest.put("imageLocationConfig/thumb", CONFIG)
    assert rest.put("imageLocationConfig/main", {"fallback": "thumb"}, status=409)["code"] == "CYCLE"


@pytest.mark.parametrize("said", ["yes", "1", "", "truefalse"])
def test_force_is_true_or_false(rest: Rest, said: str) -> None:
    told = rest.put(f"imageLocationConfig/thumb?force={said}", {"width": 10}, status=400)
    assert (told["parameter"], told["expected"]) == ("force", "true or false")
    rest.get("imageLocationConfig/thumb", status=404)
