"""A real server process: from an upload to variants over HTTP, and what survives `kill -9`."""

import http.server
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx2 as httpx
import jwt
import pytest
from filelock import FileLock
from websockets import Subprotocol
from websockets.sync.client import connect

from tests.servers import varnish
from tests.servers.host import Host, giving
from tests.servers.ports import free_port
from tests.support.admin import is_erased, wait_for
from tests.support.pictures import jpeg, photo
from tests.support.server import PROGRAM, TOKEN, packshot, serving, start_packshot

WS = Subprotocol("graphql-transport-ws")


def test_an_upload_yields_variants_and_a_crop_changes_the_stable_url(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.put_location("thumb", 320, 180)
        server.put_location("cover", 200, 300)
        pack_id, job_id = server.pack_showing(jpeg(photo(1200, 900)))
        job = server.wait_for_job(job_id)
        assert (job["state"], job["failed"], job["done"] + job["skipped"]) == ("SUCCEEDED", 0, job["total"])
        assert server.check_variants(pack_id) == 15
        before = server.client.get(f"/api/v2/img/{pack_id}?location=cover")
        crop = "{topLeftX: 0.5, topLeftY: 0, bottomRightX: 1, bottomRightY: 1}"
        arguments = f'packId: "{pack_id}", location: "cover", crop: {crop}'
        payload = server.do("setCrop", arguments, "job { id } packLocation { currentUrl crop { topLeftX } }")
        after = server.client.get(f"/api/v2/img/{pack_id}?location=cover")
        assert after.content != before.content
        assert payload["packLocation"]["currentUrl"] == server.base + after.headers["content-location"]
        assert server.client.get(before.headers["content-location"]).content == before.content
        assert server.wait_for_job(payload["job"]["id"])["state"] == "SUCCEEDED"
        assert server.check_variants(pack_id) == 15
        output = server.end(signal.SIGTERM)
        assert TOKEN not in output
        assert "Traceback" not in output


def test_acknowledged_edits_survive_kill_9_and_their_variants_are_rendered(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.put_location("thumb", 320, 180)
        packs = [server.pack_showing(jpeg(photo(1200, 900, seed=seed))) for seed in range(3)]
        wait_for(lambda: any(tmp_path.glob("variants/default/*/*/*/*")))
        server.end(signal.SIGKILL)
    with serving(tmp_path) as server:
        for pack_id, job_id in packs:
            assert server.wait_for_job(job_id)["state"] == "SUCCEEDED"
            assert server.check_variants(pack_id) == 9


def test_an_erasure_interrupted_by_kill_9_continues_and_the_pack_stays_erased(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        pack_id, job_id = server.pack_showing(jpeg(photo(600, 400)))
        server.wait_for_job(job_id)
        url = server.client.get(f"/api/v2/img/{pack_id}").headers["content-location"]
        payload = server.do("erasePack", f'id: "{pack_id}", reason: "the rights have ended"', "job { id }")
        server.end(signal.SIGKILL)
    with serving(tmp_path, PACKSHOT_LOG_LEVEL="info") as server:
        for path in (url, f"/api/v2/img/{pack_id}"):
            wait_for(partial(is_erased, server.client, path))
        wait_for(lambda: not any(path.is_file() for path in tmp_path.glob(f"variants/*/{pack_id}/**/*")))
        wait_for(lambda: not any(path.is_file() for path in tmp_path.glob("originals/default/*")))
        (job,) = server.ask("query($id: ID!) { job(id: $id) { kind state } }", id=payload["job"]["id"]).values()
        assert job["kind"] == "ERASE"
        assert job["state"] == "RUNNING", (
            "the erasure is repeated once no earlier upload or render can still store an object"
        )
        assert "the rights have ended" in (tmp_path / "tombstones" / "default" / pack_id).read_text()


def test_a_url_import_interrupted_by_kill_9_continues(tmp_path: Path, host: Host) -> None:
    asked, gone = threading.Event(), threading.Event()

    def stall(handler: http.server.BaseHTTPRequestHandler) -> None:
        asked.set()
        gone.wait(60)

    def url(number: int) -> str:
        return host.url(f"/{number}.jpg")

    for number in range(20):
        host.answers[f"/{number}.jpg"] = stall
    inputs = [
        {"externalId": f"film-{number}", "originals": [{"location": "main", "source": {"url": url(number)}}]}
        for number in range(20)
    ]
    with serving(tmp_path, PACKSHOT_FETCH_ALLOW="127.0.0.1") as server:
        made = server.do(
            "createPacks", "inputs: $inputs", "results { pack { id } } job { id }", inputs=("[PackInput!]!", inputs)
        )
        assert asked.wait(60)
        server.end(signal.SIGKILL)
    gone.set()
    for number in range(20):
        host.answers[f"/{number}.jpg"] = giving(jpeg(photo(64, 48, seed=number)))
    with serving(tmp_path, PACKSHOT_FETCH_ALLOW="127.0.0.1") as server:
        job = server.wait_for_job(made["job"]["id"])
        assert (job["state"], job["total"], job["done"]) == ("SUCCEEDED", 20, 20)
        for result in made["results"]:
            assert server.client.get(f"/api/v2/img/{result['pack']['id']}").status_code == 200


def test_an_upload_interrupted_by_kill_9_leaves_no_file_and_cannot_be_repeated(tmp_path: Path) -> None:
    data = jpeg(photo(1500, 1000))
    with serving(tmp_path) as server:
        upload = server.announce(data)
        headers = {header["name"]: header["value"] for header in upload["headers"]}

        def halting() -> Iterator[bytes]:
            yield data[: len(data) // 2]
            wait_for(lambda: any(path.stat().st_size for path in (tmp_path / "incoming").iterdir()))
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            yield data[len(data) // 2 :]

        with pytest.raises(httpx.TransportError):
            server.client.put(upload["url"], content=halting(), headers=headers)
    with serving(tmp_path) as server:
        assert list((tmp_path / "incoming").iterdir()) == []
        answer = server.client.put(f"/uploads/default/{upload['id']}", content=data, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (409, "BAD_STATE")
        _, job_id = server.pack_showing(data)
        assert server.wait_for_job(job_id)["state"] == "SUCCEEDED"


def test_a_generated_admin_token_is_not_written_to_a_log(tmp_path: Path) -> None:
    with serving(tmp_path, PACKSHOT_ADMIN_TOKEN="", PACKSHOT_LOG_LEVEL="debug") as server:
        token = (tmp_path / "admin-token").read_text().strip()
        assert server.client.post("/graphql", headers={"Authorization": f"Bearer {token}"}).status_code == 415
        secret = {"Authorization": "Bearer header-of-a-websocket"}
        with connect(f"ws://127.0.0.1:{server.port}/graphql", additional_headers=secret, subprotocols=[WS]) as socket:
            socket.send(json.dumps({"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}))
            assert json.loads(socket.recv())["type"] == "connection_ack"
        output = server.end(signal.SIGTERM)
    assert token not in output
    assert "header-of-a-websocket" not in output
    assert f"in the file {tmp_path / 'admin-token'}" in output


def test_a_generated_admin_token_is_printed_on_a_terminal(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PACKSHOT_")}
    environ |= {"PACKSHOT_DATA": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM, "serve", "--port", str(free_port())]
    printed = b""
    with subprocess.Popen(command, env=environ, stdout=theirs, stderr=subprocess.DEVNULL) as process:
        os.close(theirs)
        try:
            while b"stableUrl" not in printed and (read := os.read(ours, 4096)):
                printed += read
        finally:
            process.kill()
            os.close(ours)
    assert (tmp_path / "admin-token").read_text().strip() in printed.decode()


def test_a_second_server_with_the_same_data_folder_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path):
        environ = os.environ | {"PACKSHOT_DATA": str(tmp_path)}
        command = [sys.executable, "-c", "from serve.cli import main; main()", "serve", "--port", "0"]
        second = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 4
    assert "Another packshot process" in second.stderr


def test_the_demo_adds_its_packs_once_and_names_images_that_it_refuses(tmp_path: Path) -> None:
    for folder, seed in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "still.jpg").write_bytes(jpeg(photo(320, 200, seed=seed)))
    (tmp_path / "broken.jpg").write_bytes(jpeg(photo(320, 200))[:3000])
    pictures = [str(tmp_path / name) for name in ("a/still.jpg", "broken.jpg", "b/still.jpg")]
    data = tmp_path / "data"
    first = packshot(data, "demo", "--image", *pictures)
    assert first.returncode == 3
    assert "broken.jpg: " in first.stderr
    assert "Traceback" not in first.stderr
    urls = sorted(set(re.findall(r"/api/v2/img/[0-9a-f]{24}\?location=thumb", first.stdout)))
    assert len(urls) == 2
    again = packshot(data, "demo", "--if-empty")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    with serving(data) as server:
        assert [server.client.get(url).status_code for url in urls] == [200, 200]
        assert server.ask("{ packs { totalCount } }")["packs"]["totalCount"] == 2
        assert server.ask('{ location(name: "main") { version } }')["location"]["version"] == 2


def test_the_demo_renders_its_own_packs_when_the_server_has_ended(tmp_path: Path) -> None:
    (tmp_path / "still.jpg").write_bytes(jpeg(photo(320, 200)))
    data = tmp_path / "data"
    assert packshot(data, "tenant", "create", "films").returncode == 0
    with FileLock(data / "lock", mode=0o600):
        demo = start_packshot(data, "demo", "--image", str(tmp_path / "still.jpg"))
        with closing(sqlite3.connect(data / "packshot.db")) as database:
            wait_for(lambda: database.execute("SELECT count(*) FROM packs").fetchone()[0] == 1)
        assert demo.poll() is None
    printed, _ = demo.communicate(timeout=120)
    assert (demo.returncode, "location=thumb" in printed) == (0, True), printed


def test_a_tenant_is_created_once_while_the_server_runs(tmp_path: Path) -> None:
    key = "0123456789abcdef0123456789abcdef"
    token = jwt.encode({"exp": 4_000_000_000, "tenant": "films", "scope": "read"}, key)
    with serving(tmp_path, PACKSHOT_JWT_SECRET=key) as server:
        server.token = token
        with pytest.raises(AssertionError, match="NOT_FOUND"):
            server.ask("{ viewer { tenant { name } } }")
        made = packshot(tmp_path, "tenant", "create", "films")
        assert (made.returncode, made.stdout) == (0, "The tenant 'films' is created.\n")
        assert server.ask("{ viewer { tenant { name } } }") == {"viewer": {"tenant": {"name": "films"}}}
        assert server.ask("{ locations { nodes { name } } }") == {"locations": {"nodes": [{"name": "main"}]}}
    again = packshot(tmp_path, "tenant", "create", "films")
    assert (again.returncode, again.stderr.splitlines()[-1]) == (1, "The tenant 'films' already exists.")
    refused = packshot(tmp_path, "tenant", "create", "Films!")
    assert refused.returncode == 1
    assert "[a-z0-9]" in refused.stderr


def test_the_doctor_says_what_is_wrong_and_how_to_fix_it(tmp_path: Path) -> None:
    fresh = packshot(tmp_path, "doctor")
    assert (fresh.returncode, "FAIL" in fresh.stdout) == (0, False)
    sick = packshot(tmp_path, "doctor", PACKSHOT_DATABASE_URL="postgresql+psycopg://127.0.0.1:1/packshot")
    assert sick.returncode == 4
    assert "FAIL database: does not answer: start it, or correct PACKSHOT_DATABASE_URL" in sick.stdout
    with varnish.running() as well, varnish.running() as ill:
        cdn = {"PACKSHOT_CDN": "varnish", "PACKSHOT_VARNISH_URLS": f"{well.url}, {ill.url}/"}
        assert "ok   cdn: Varnish, 2 of 2 take purges" in packshot(tmp_path, "doctor", **cdn).stdout
        ill.status = 403
        mute = packshot(tmp_path, "doctor", **cdn)
    assert mute.returncode == 4
    assert f"FAIL cdn: accepts no purges: {ill.url} answers a purge with 403: allow this machine" in mute.stdout


def test_edits_work_when_the_store_is_unavailable_at_start(tmp_path: Path) -> None:
    away = {
        "PACKSHOT_S3_BUCKET_ORIGINALS": "packshot",
        "PACKSHOT_S3_BUCKET_VARIANTS": "packshot",
        "PACKSHOT_S3_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "nothing",
    }
    with serving(tmp_path, ready=503, **away) as server:
        server.put_location("thumb", 16, 16)
        assert server.ask('{ location(name: "thumb") { width } }') == {"location": {"width": 16}}
        assert "the store does not answer" in server.end(signal.SIGTERM)


def test_a_stop_during_a_render_is_prompt_and_loses_no_variant(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        renditions = ", ".join(f"{{width: {1500 + n}, height: {1200 + n}}}" for n in range(32))
        location = f'input: {{name: "huge", width: 1600, height: 1200, renditions: [{renditions}]}}'
        server.do("putLocation", location, "location { name }")
        pack_id, _ = server.pack_showing(jpeg(photo(2400, 1800)))
        wait_for(lambda: any(tmp_path.glob("variants/default/*/*/*/*")))
        output = server.end(signal.SIGTERM)
        assert "Traceback" not in output
    with serving(tmp_path) as server:
        assert {variant["state"] for variant in server.variants(pack_id)} <= {"READY", "PENDING"}
