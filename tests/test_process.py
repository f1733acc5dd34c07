"""The real server as a process: the whole line over HTTP, and what survives `kill -9`."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx2 as httpx
import pytest
from PIL import Image

from tests.pictures import jpeg, photo
from tests.server import TOKEN, Server, serving, wait_for


def check_variants(server: Server, pack_id: str) -> int:
    """Fetch every variant of a pack and compare it with what was promised."""
    variants = server.variants(pack_id)
    for variant in variants:
        assert variant["state"] == "READY"
        answer = server.client.get(variant["url"])
        assert answer.status_code == 200
        with Image.open(BytesIO(answer.content)) as picture:
            assert picture.format == variant["format"]
            assert picture.size == (variant["width"], variant["height"])
            picture.load()
    return len(variants)


def test_from_a_mutation_to_a_picture_and_through_a_crop(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.put_location("thumb", 320, 180)
        server.put_location("cover", 200, 300)
        pack_id, job_id = server.pack_showing(jpeg(photo(1200, 900)))
        job = server.wait_for_job(job_id)
        assert (job["state"], job["failed"], job["done"] + job["skipped"]) == ("SUCCEEDED", 0, job["total"])
        assert check_variants(server, pack_id) == 15
        before = server.client.get(f"/api/v2/img/{pack_id}?location=cover")
        crop = "{topLeftX: 0.5, topLeftY: 0, bottomRightX: 1, bottomRightY: 1}"
        arguments = f'packId: "{pack_id}", location: "cover", crop: {crop}'
        payload = server.do("setCrop", arguments, "job { id } packLocation { currentUrl crop { topLeftX } }")
        after = server.client.get(f"/api/v2/img/{pack_id}?location=cover")
        assert after.content != before.content
        assert payload["packLocation"]["currentUrl"] == server.base + after.headers["content-location"]
        assert server.client.get(before.headers["content-location"]).content == before.content
        assert server.wait_for_job(payload["job"]["id"])["state"] == "SUCCEEDED"
        assert check_variants(server, pack_id) == 15
        output = server.end(signal.SIGTERM)
        assert TOKEN not in output
        assert "Traceback" not in output


def test_what_was_acknowledged_survives_kill_nine_and_what_was_ordered_is_rendered(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        server.put_location("thumb", 320, 180)
        packs = [server.pack_showing(jpeg(photo(1200, 900, seed=seed))) for seed in range(3)]
        wait_for(lambda: any(tmp_path.glob("variants/default/*/*/*/*")))
        server.end(signal.SIGKILL)
    with serving(tmp_path) as server:
        for pack_id, job_id in packs:
            assert server.wait_for_job(job_id)["state"] == "SUCCEEDED"
            assert check_variants(server, pack_id) == 9


def test_an_upload_cut_off_by_kill_nine_leaves_no_trace_and_is_refused(tmp_path: Path) -> None:
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
        answer = server.client.put(f"/uploads/{upload['id']}", content=data, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (409, "BAD_STATE")
        _, job_id = server.pack_showing(data)
        assert server.wait_for_job(job_id)["state"] == "SUCCEEDED"


def test_a_second_server_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path):
        environ = os.environ | {"PACKSHOT_DATA": str(tmp_path)}
        command = [sys.executable, "-c", "from serve.cli import main; main()", "serve", "--port", "0"]
        second = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 4
    assert "Another packshot process" in second.stderr
