"""Packs are created with their originals, up to 100 in a call. URLs are fetched after the response."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from packshot.catalog.tables.work import url_imports
from packshot.catalog.work.url_imports import claim_due
from packshot.render.processes.pool import Renderer
from pregen.services.url_importer import UrlImporter
from tests.schema.api import USER_ERRORS, Api, crop
from tests.servers.host import Host, giving
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground

CREATE_MANY = f"""
mutation Many($inputs: [PackInput!]!, $onExisting: OnExisting! = FAIL) {{
  createPacks(inputs: $inputs, onExisting: $onExisting) {{
    results {{ pack {{ id externalId version location(name: "main") {{ original {{ width }} crop {{ topLeftX }} }} }}
               job {{ id kind }} {USER_ERRORS} }}
    job {{ id kind state total priority }}
    {USER_ERRORS}
  }}
}}"""
CREATE = f"""
mutation One($input: PackInput) {{
  createPack(input: $input) {{ pack {{ id }} job {{ id kind state total priority }} {USER_ERRORS} }}
}}"""
JOB = """query Job($id: ID!) { job(id: $id) { kind state total done skipped failed
  failures(first: 100) { nodes { code message attempts pack { id } packLocation { name } } } } }"""
VERSION = "query Version($id: ID!) { pack(by: {id: $id}) { version } }"
CANCEL = f"""mutation Cancel($id: ID!) {{
  cancelJob(id: $id) {{ job {{ state total done skipped failed }} {USER_ERRORS} }} }}"""
WIDTH = """query Width($id: ID!) { pack(by: {id: $id}) { location(name: "main") {
  original { width } picture { state } } } }"""


@pytest.fixture
def api(tmp_path: Path, renderer: Renderer, database_url: str | None) -> Iterator[Api]:
    """Return a client of an installation that may fetch from the tests' own host."""
    playground = Playground(tmp_path / "data", renderer, database_url=database_url, fetch_allow="127.0.0.1")
    yield Api(playground)
    playground.site.catalog.close()


def by_url(url: str) -> dict[str, Any]:
    return {"location": "main", "source": {"url": url}}


def make_due(api: Api) -> None:
    """Make every postponed URL import due now."""
    with api.playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(url_imports).values(due_at=tx.now - timedelta(seconds=1)))


def test_one_call_creates_a_hundred_packs(api: Api, host: Host) -> None:
    # 100 is the limit of a call. On slower databases fewer are enough.
    count = 100 if api.playground.site.catalog.is_sqlite else 20
    for number in range(count):
        host.answers[f"/{number}.jpg"] = giving(jpeg(photo(20 + number, 16, seed=number)))
    inputs = [
        {"externalId": f"asset-{number}", "originals": [by_url(host.url(f"/{number}.jpg"))]} for number in range(count)
    ]
    answer = api.payload(CREATE_MANY, inputs=inputs)
    assert [one["userErrors"] for one in answer["results"]] == [[]] * count
    assert host.requests == [], "the URLs are fetched after the response"
    assert (answer["job"]["kind"], answer["job"]["state"]) == ("IMPORT", "QUEUED")
    assert (answer["job"]["total"], answer["job"]["priority"]) == (count, "BULK")
    assert {one["job"]["id"] for one in answer["results"]} == {answer["job"]["id"]}
    api.playground.run_jobs()
    job = api.data(JOB, id=answer["job"]["id"])["job"]
    assert (job["state"], job["total"], job["done"], job["failed"]) == ("SUCCEEDED", count, count, 0)
    for number, one in enumerate(answer["results"]):
        shown = api.data(WIDTH, id=one["pack"]["id"])["pack"]["location"]
        assert shown == {"original": {"width": 20 + number}, "picture": {"state": "READY"}}
    assert len(host.requests) == count
    assert list(api.playground.site.incoming.iterdir()) == []


def test_a_refused_pack_does_not_affect_the_others(api: Api) -> None:
    taken = api.payload(CREATE, input={"externalId": "there"})["pack"]["id"]
    upload = api.playground.upload(jpeg(photo(30, 20)))
    text = api.playground.upload(b"no picture")
    uploaded = {"location": "main", "source": {"uploadId": upload}}
    inputs = [
        {"externalId": "a", "originals": [uploaded | {"crop": crop(0.5, 0, 1, 1)}]},
        {"externalId": "there"},
        {"externalId": "b", "originals": [{"location": "main", "source": {"uploadId": text}}]},
        {"externalId": "c", "originals": [{"location": "nowhere", "source": {"uploadId": upload}}]},
        {"externalId": "d", "originals": [uploaded, uploaded]},
        {"externalId": "e", "originals": [uploaded | {"focus": {"x": 2, "y": 0}}]},
        {"externalId": "a"},
        {"externalId": "f"},
    ]
    answer = api.payload(CREATE_MANY, inputs=inputs)
    refusals = [[(error["code"], error["field"]) for error in one["userErrors"]] for one in answer["results"]]
    assert refusals == [
        [],
        [("TAKEN", ["inputs", "1", "externalId"])],
        [("UNSUPPORTED_MEDIA", ["inputs", "2", "originals", "0", "source", "uploadId"])],
        [("NOT_FOUND", ["inputs", "3", "originals", "0", "location"])],
        [("INVALID", ["inputs", "4", "originals", "1", "location"])],
        [("INVALID", ["inputs", "5", "originals", "0", "focus", "x"])],
        [("TAKEN", ["inputs", "6", "externalId"])],
        [],
    ]
    assert answer["results"][1]["userErrors"][0]["existing"]["id"] == taken
    assert answer["results"][0]["pack"]["location"] == {"original": {"width": 30}, "crop": {"topLeftX": 0.5}}
    assert answer["job"]["kind"] == answer["results"][0]["job"]["kind"] == "REGENERATE"
    found = api.data("{ packs(orderBy: SEQUENCE_ASC) { nodes { externalId } } }")["packs"]["nodes"]
    assert [pack["externalId"] for pack in found] == ["there", "a", "f"]


@pytest.mark.parametrize("count", [0, 101])
def test_a_call_accepts_1_to_100_packs(api: Api, count: int) -> None:
    (payload,) = api.data(CREATE_MANY, inputs=[{}] * count).values()
    assert [(error["code"], error["field"]) for error in payload["userErrors"]] == [("LIMIT", ["inputs"])]
    assert payload["results"] == []


def test_existing_packs_are_skipped_or_updated(api: Api, host: Host) -> None:
    host.answers["/a"] = giving(jpeg(photo(40, 20)))
    pack_id = api.playground.pack(external_id="there", picture=photo(30, 20))
    inputs = [{"externalId": "there", "assetId": 7, "originals": [by_url(host.url("/a"))]}]
    skipped = api.payload(CREATE_MANY, inputs=inputs, onExisting="SKIP")
    (result,) = skipped["results"]
    assert (result["pack"]["id"], result["job"], skipped["job"]) == (pack_id, None, None)
    version = result["pack"]["version"]
    updated = api.payload(CREATE_MANY, inputs=inputs, onExisting="UPDATE")
    assert updated["results"][0]["pack"]["id"] == pack_id
    assert updated["results"][0]["pack"]["version"] == version + 1
    api.playground.run_jobs()
    assert api.data(WIDTH, id=pack_id)["pack"]["location"]["original"] == {"width": 40}
    assert api.data("{ packs { nodes { assetId } } }")["packs"]["nodes"] == [{"assetId": 7}]


def test_a_pack_is_created_with_all_of_its_originals_or_not_at_all(api: Api, host: Host) -> None:
    host.answers["/a"] = giving(jpeg(photo(40, 20)))
    upload = api.playground.upload(jpeg(photo(30, 20)))
    api.playground.location("thumb", width=8)
    both = [by_url(host.url("/a")), {"location": "thumb", "source": {"uploadId": upload}}]
    made = api.payload(CREATE, input={"originals": both})
    assert (made["job"]["kind"], made["job"]["total"], made["job"]["priority"]) == ("IMPORT", 1, "INTERACTIVE")
    api.playground.run_jobs()
    assert api.data(WIDTH, id=made["pack"]["id"])["pack"]["location"]["picture"] == {"state": "READY"}
    error = api.refusal(CREATE, input={"originals": [both[0], both[1] | {"location": "nowhere"}]})
    assert (error["code"], error["field"]) == ("NOT_FOUND", ["input", "originals", "1", "location"])
    assert api.data("{ packs { totalCount } }")["packs"]["totalCount"] == 1


def test_an_update_of_a_pack_refuses_originals(api: Api) -> None:
    document = f"""mutation U($id: ID!, $input: PackInput!) {{
      updatePack(id: $id, input: $input) {{ pack {{ id }} {USER_ERRORS} }} }}"""
    error = api.refusal(document, id=api.playground.pack(), input={"originals": []})
    assert (error["code"], error["field"]) == ("INVALID", ["input", "originals"])


def failing(api: Api, host: Host, path: str) -> tuple[str, Any]:
    """Create a pack from a URL without an image; return the id of the pack, and its finished job."""
    made = api.payload(CREATE, input={"originals": [by_url(host.url(path))]})
    for _ in range(5):
        make_due(api)
        api.playground.run_jobs()
    return made["pack"]["id"], api.data(JOB, id=made["job"]["id"])["job"]


@pytest.mark.parametrize(
    ("status", "attempts"), [(503, 3), (429, 3), (404, 1)], ids=["may pass", "too many", "will not pass"]
)
def test_a_failing_url_is_listed_and_retried_only_after_temporary_errors(
    api: Api, host: Host, status: int, attempts: int
) -> None:
    host.answers["/a"] = lambda handler: handler.send_error(status)
    pack_id, job = failing(api, host, "/a")
    assert (job["state"], job["total"], job["failed"]) == ("FAILED", 1, 1)
    (failure,) = job["failures"]["nodes"]
    assert (failure["code"], failure["attempts"]) == ("FETCH_FAILED", attempts)
    assert (failure["pack"]["id"], failure["packLocation"]["name"]) == (pack_id, "main")
    assert len(host.requests) == attempts


@pytest.mark.parametrize(
    ("body", "code"), [(b"no picture", "UNSUPPORTED_MEDIA"), (jpeg(photo(200, 200))[:-2000], "UNRENDERABLE")]
)
def test_a_url_without_an_image_is_not_retried(api: Api, host: Host, body: bytes, code: str) -> None:
    host.answers["/a"] = giving(body)
    _, job = failing(api, host, "/a")
    assert [(one["code"], one["attempts"]) for one in job["failures"]["nodes"]] == [(code, 1)]


def test_an_original_that_is_set_before_the_import_stays(api: Api, host: Host) -> None:
    host.answers["/a"] = giving(jpeg(photo(40, 20)))
    made = api.payload(CREATE, input={"originals": [by_url(host.url("/a"))]})
    api.playground.show(made["pack"]["id"], "main", photo(30, 20))
    api.playground.run_jobs()
    assert api.data(WIDTH, id=made["pack"]["id"])["pack"]["location"]["original"] == {"width": 30}
    job = api.data(JOB, id=made["job"]["id"])["job"]
    assert (job["state"], job["total"], job["skipped"], job["failures"]["nodes"]) == ("SUCCEEDED", 1, 1, [])
    assert host.requests == []


def test_a_job_does_not_wait_for_the_import_of_a_deleted_pack(api: Api, host: Host) -> None:
    made = api.payload(CREATE, input={"originals": [by_url(host.url("/a"))]})
    api.payload(f"mutation D($id: ID!) {{ deletePack(id: $id) {{ deletedId {USER_ERRORS} }} }}", id=made["pack"]["id"])
    api.playground.run_jobs()
    assert api.data(JOB, id=made["job"]["id"])["job"]["state"] == "SUCCEEDED"
    assert host.requests == []


def test_an_outage_of_the_store_does_not_count_as_a_failed_attempt(
    api: Api, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.answers["/a"] = giving(jpeg(photo(40, 20)))
    made = api.payload(CREATE, input={"originals": [by_url(host.url("/a"))]})

    def away(*_: object) -> None:
        raise OSError("the store is away")

    with monkeypatch.context() as patched:
        patched.setattr(type(api.playground.site.originals), "put", away)
        for _ in range(5):
            make_due(api)
            assert api.playground.url_importer.step()
    assert api.data(JOB, id=made["job"]["id"])["job"]["state"] == "RUNNING"
    make_due(api)
    api.playground.run_jobs()
    assert api.data(JOB, id=made["job"]["id"])["job"]["state"] == "SUCCEEDED"


def test_the_import_of_a_dead_process_continues_after_its_lease(api: Api, host: Host) -> None:
    host.answers["/a"] = giving(jpeg(photo(40, 20)))
    made = api.payload(CREATE, input={"originals": [by_url(host.url("/a"))]})
    with api.playground.site.catalog.write_system() as tx:
        assert claim_due(tx) is not None
    assert not UrlImporter(api.playground.site, api.playground.doorbell).step(), "another process holds the claim"
    with api.playground.site.catalog.write_system() as tx:
        tx.connection.execute(sa.update(url_imports).values(lease_until=tx.now - timedelta(seconds=1)))
    api.playground.run_jobs()
    assert api.data(JOB, id=made["job"]["id"])["job"]["state"] == "SUCCEEDED"


def widths(api: Api, made: Any) -> list[int | None]:
    """Return the width of each pack's original, or None without an original."""
    shown = [api.data(WIDTH, id=one["pack"]["id"])["pack"]["location"]["original"] for one in made["results"]]
    return [None if original is None else original["width"] for original in shown]


def test_a_cancelled_import_fetches_no_further_url(api: Api, host: Host) -> None:
    for number in range(3):
        host.answers[f"/{number}"] = giving(jpeg(photo(20 + number, 16)))
    inputs = [{"externalId": f"e{number}", "originals": [by_url(host.url(f"/{number}"))]} for number in range(3)]
    made = api.payload(CREATE_MANY, inputs=inputs)
    assert api.playground.url_importer.step()
    ended = {"state": "CANCELLED", "total": 3, "done": 1, "skipped": 0, "failed": 0}
    assert api.payload(CANCEL, id=made["job"]["id"])["job"] == ended
    api.playground.run_jobs()
    assert len(host.requests) == 1
    assert len([width for width in widths(api, made) if width is not None]) == 1, "fetched originals stay"
    assert ended.items() <= api.data(JOB, id=made["job"]["id"])["job"].items()
    again = api.payload(CREATE_MANY, inputs=inputs, onExisting="UPDATE")
    api.playground.run_jobs()
    assert api.data(JOB, id=again["job"]["id"])["job"]["done"] == 3
    assert widths(api, again) == [20, 21, 22]


def picture(handler: BaseHTTPRequestHandler) -> None:
    giving(jpeg(photo(40, 20)))(handler)


@pytest.mark.parametrize(
    ("answer", "is_away"),
    [
        (picture, False),
        (giving(b"no picture"), False),
        (lambda handler: handler.send_error(404), False),
        (lambda handler: handler.send_error(503), False),
        (picture, True),
    ],
    ids=["fetched", "no picture", "will not pass", "may pass", "our outage"],
)
def test_a_running_fetch_of_a_cancelled_import_changes_nothing(
    api: Api,
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[BaseHTTPRequestHandler], None],
    is_away: bool,
) -> None:
    cancelled = []

    def cancel_first(handler: BaseHTTPRequestHandler) -> None:
        cancelled.append(api.payload(CANCEL, id=made["job"]["id"])["job"])
        answer(handler)

    def away(*_: object) -> None:
        raise OSError("the store is away")

    host.answers |= {"/a": picture, "/b": cancel_first}
    made = api.payload(CREATE_MANY, inputs=[{"originals": [by_url(host.url(path))]} for path in ("/a", "/b")])
    for url in ("/a", "/b"):
        with api.playground.site.catalog.write(TENANT) as tx:
            # Only this URL import is due.
            later = sa.case((url_imports.c.url.endswith(url), tx.now), else_=tx.now + timedelta(hours=1))
            tx.connection.execute(sa.update(url_imports).values(due_at=later))
        with monkeypatch.context() as patched:
            if url == "/b" and is_away:
                patched.setattr(type(api.playground.site.originals), "put", away)
            assert api.playground.url_importer.step()
    ended = {"state": "CANCELLED", "total": 2, "done": 1, "skipped": 0, "failed": 0}
    assert cancelled == [ended]
    api.playground.run_jobs()
    job = api.data(JOB, id=made["job"]["id"])["job"]
    assert job == {"kind": "IMPORT", **ended, "failures": {"nodes": []}}
    assert widths(api, made) == [40, None]
    versions = [api.data(VERSION, id=one["pack"]["id"])["pack"]["version"] for one in made["results"]]
    assert versions[1] == made["results"][1]["pack"]["version"], "the pack was not edited"
    with api.playground.site.catalog.read(TENANT) as tx:
        assert tx.connection.scalar(sa.select(sa.func.count()).select_from(url_imports)) == 0


def test_an_import_that_is_cancelled_during_fetches_counts_the_finished_ones(api: Api, host: Host) -> None:
    count, halfway, stopped = 12, threading.Event(), threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if len(host.requests) > count // 2:
            # The other fetches are running while the job is cancelled.
            stopped.wait(30)
        elif len(host.requests) > count // 4:
            halfway.set()
        picture(handler)

    host.answers |= {f"/{number}": answer for number in range(count)}
    inputs = [{"originals": [by_url(host.url(f"/{number}"))]} for number in range(count)]
    made = api.payload(CREATE_MANY, inputs=inputs)

    def fetch_all() -> None:
        while api.playground.url_importer.step():
            pass

    with ThreadPoolExecutor(4) as threads:
        at_work = [threads.submit(fetch_all) for _ in range(3)]
        assert halfway.wait(30)
        cancelled = api.payload(CANCEL, id=made["job"]["id"])["job"]
        stopped.set()
        for one in at_work:
            one.result()
    fetched = len([width for width in widths(api, made) if width is not None])
    assert cancelled == {"state": "CANCELLED", "total": count, "done": fetched, "skipped": 0, "failed": 0}
    assert 0 < fetched < count
    assert cancelled.items() <= api.data(JOB, id=made["job"]["id"])["job"].items()
