"""A job's failures as CSV: by a signed URL, and harmless in a spreadsheet."""

import csv
from datetime import timedelta
from io import StringIO

import pytest
from starlette.testclient import TestClient

import resolvers.reports
from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.catalog.work.jobs import Job
from packshot.settings.settings import Settings
from pregen.queue.broker import make_broker
from resolvers import pack_imports, packs
from resolvers.originals import Source
from resolvers.pack_imports import NewOriginal, NewPack, OnExisting
from serve.app import create_app
from tests.serve.admin.test_edges import ask
from tests.serve.conftest import TOKEN
from tests.support.playground import TENANT, Playground

URL = "query Url($id: ID!) { job(id: $id) { state failed reportUrl } }"
HEADER = ["pack id", "asset id", "external id", "location", "code", "message", "attempts"]


def failed_job(playground: Playground, count: int = 1, **first: object) -> tuple[Job, list[str]]:
    """Return a job that failed completely, and its packs: their originals' URLs are not allowed."""
    original = NewOriginal("main", Source(url="http://127.0.0.1/a.jpg"))
    inputs = [NewPack({"external_id": f"film {n}"} | (first if n == 0 else {}), [original]) for n in range(count)]
    outcomes, job = pack_imports.create_packs(playground.caller, inputs, OnExisting.FAIL)
    playground.run_jobs()
    assert job is not None
    return playground.job(job), [outcome.pack_id or "" for outcome in outcomes]


def address(client: TestClient, job: Job) -> str:
    found: str = ask(client, URL, {"id": f"job:{job.id}"})["job"]["reportUrl"]
    return found


def read(text: str) -> list[list[str]]:
    return list(csv.reader(StringIO(text, newline="")))


def test_a_report_names_every_failure_by_the_ids_of_others(
    client: TestClient, playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolvers.reports, "ROWS_AT_ONCE", 2)
    job, pack_ids = failed_job(playground, 5, asset_id=-4711)
    packs.delete_pack(playground.caller, pack_ids[1])
    answer = client.get(address(client, job))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["content-disposition"] == f'attachment; filename="job-{job.id}.csv"'
    header, *rows = read(answer.text)
    assert header == HEADER
    by_pack = {row[0]: row[1:] for row in rows}
    assert len(rows) == 5
    assert set(by_pack) == set(pack_ids)
    asset_id, external_id, location, code, message, attempts = by_pack[pack_ids[0]]
    assert (asset_id, external_id, location, code, attempts) == ("-4711", "film 0", "main", "FETCH_BLOCKED", "1")
    assert message
    assert by_pack[pack_ids[1]][:2] == ["", ""], "a pack that is gone has no ids but its own"


@pytest.mark.parametrize("text", ['=HYPERLINK("http://x")', "+1", "-1+1", "@SUM(A1)", "\t=1", " =1", "＝1"])
def test_no_text_becomes_a_formula(client: TestClient, playground: Playground, text: str) -> None:
    job, _ = failed_job(playground, external_id=text)
    _, row = read(client.get(address(client, job)).text)
    assert row[2] == f"'{text}"


def test_a_text_with_commas_quotes_and_lines_is_one_field(client: TestClient, playground: Playground) -> None:
    text = 'a "film", with\nlines; - and ü'
    job, _ = failed_job(playground, external_id=text)
    _, row = read(client.get(address(client, job)).text)
    assert row[2] == text


def test_a_job_without_failures_has_no_report(client: TestClient, playground: Playground) -> None:
    playground.pack()
    playground.run_jobs()
    jobs = ask(client, "{ jobs { nodes { state reportUrl } } }", {})["jobs"]["nodes"]
    assert [(job["state"], job["reportUrl"]) for job in jobs] == [("SUCCEEDED", None)]


@pytest.mark.parametrize(
    ("old", "new"),
    [("signature=", "signature=0"), ("expires=", "expires=9"), ("/default/", "/other/"), ("signature=", "s=")],
)
def test_a_report_url_with_a_wrong_signature_is_not_found(
    client: TestClient, playground: Playground, old: str, new: str
) -> None:
    with playground.site.catalog.write("other") as tx:
        ensure_tenant(tx)
    job, _ = failed_job(playground)
    answer = client.get(address(client, job).replace(old, new))
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")


def test_a_report_url_expires_and_is_valid_only_for_its_own_job(
    client: TestClient, playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = failed_job(playground)
    other, _ = failed_job(playground, external_id="another")
    url = address(client, one)
    assert client.get(url).status_code == 200
    assert client.get(url.replace(one.id, other.id)).status_code == 404
    monkeypatch.setattr(resolvers.reports, "LIFETIME", timedelta(seconds=-1))
    assert client.get(address(client, one)).status_code == 404


def test_a_report_is_not_found_on_another_tenants_host(client: TestClient, playground: Playground) -> None:
    job, _ = failed_job(playground)
    path = address(client, job).partition("testserver")[2]
    settings = Settings(**playground.settings.model_dump() | {"tenant_domain": "images.example"})
    app = create_app(playground.with_settings(settings), make_broker(settings), playground.doorbell, TOKEN)
    with TestClient(app, client=("127.0.0.1", 50_000)) as hosts:
        assert hosts.get(f"http://films.images.example{path}").status_code == 404
        assert hosts.get(f"http://{TENANT}.images.example{path}").status_code == 200
