"""The disk of an embedded installation is full: proper errors, no loss, and work continues once there is space.

The test needs a small file system of its own, which only root can mount, on Linux.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.chaos.evidence import check_folder_store, put_locations, wait_until_idle
from tests.chaos.load import check_acknowledged, loaded
from tests.support.admin import wait_for
from tests.support.pictures import jpeg, photo
from tests.support.server import serving

MEGABYTES = 24
BLOCK_BYTES = 4096

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of `MEGABYTES`."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root can mount a small file system, on Linux")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "packshot-chaos", folder], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_survived(small_disk: Path) -> None:
    data = small_disk / "data"
    with serving(data) as server:
        put_locations(server)
        packs = [server.pack_showing(jpeg(photo(480, 360, seed=number))) for number in range(4)]
        wait_until_idle(server, 60)
        # A location without edits, so that serving it needs no space.
        warm = f"/api/v2/img/{packs[0][0]}?location=main"
        cold = f"/api/v2/img/{packs[1][0]}?location=thumb"
        crop = "{topLeftX: 0.25, topLeftY: 0, bottomRightX: 0.75, bottomRightY: 1}"
        with loaded([server], warm=warm, cold=cold) as load:
            wait_for(lambda: len(load.acknowledged) > 10)
            edits = [
                server.do("setCrop", f'packId: "{pack_id}", location: "thumb", crop: {crop}', "job { id }")["job"]["id"]
                for pack_id, _ in packs
            ]
            _fill(small_disk)
            wait_for(lambda: load.refused)
            found = wait_for(lambda: _degraded(server.client))
            # The variant is rendered, but not stored.
            new_size = server.client.get(f"/api/v2/img/{packs[2][0]}?width=123")
            refused_upload = _try_upload(server.base, server.token, jpeg(photo(800, 600, seed=9)))
            (small_disk / "filler").unlink()
            before, pictures = len(load.acknowledged), load.pictures["cold", 200]
            wait_for(lambda: len(load.acknowledged) > before + 10)
            wait_for(lambda: load.pictures["cold", 200] > pictures)
        assert load.wrong == []
        assert {status for kind, status in load.pictures if kind == "warm"} == {200}
        assert refused_upload == 503
        assert (new_size.status_code, new_size.headers.get("Cache-Control")) == (200, "public, max-age=60")
        # Stored variants are served, so load balancers must keep the application in service.
        assert found["database"] == found["variants"] == "ok"
        assert found["data_folder"] == "failing"
        wait_for(lambda: server.client.get("/readyz").json()["status"] == "ready")
        assert "Traceback" not in server.output()
        wait_until_idle(server, 120)
        for job_id in edits:
            assert server.wait_for_job(job_id)["state"] == "SUCCEEDED"
        check_acknowledged(server, load)
        for pack_id, _ in packs:
            assert server.check_variants(pack_id)
        objects = check_folder_store(data)
    # Incomplete objects of killed or failed processes are not found after a start either.
    with serving(data) as server:
        check_acknowledged(server, load)
    print(f"\nfull disk: refused {dict(load.refused)}, pictures {dict(load.pictures)}, {objects} objects right")


def _degraded(client: httpx.Client) -> dict[str, str]:
    """Return the status of every dependency once a failing write is noticed; the application stays ready."""
    answer = client.get("/readyz")
    assert answer.status_code == 200
    found = {name: each["status"] for name, each in answer.json()["dependencies"].items()}
    return found if found["variants_writes"] == found["database_writes"] == "failing" else {}


def _fill(disk: Path) -> None:
    """Use up all free space."""
    with suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(BLOCK_BYTES))


def _try_upload(base: str, token: str, data: bytes) -> int:
    """Announce and send bytes for which there is no space, and return the response's status."""
    query = f'mutation {{ createUpload(input: {{mediaType: "image/jpeg", bytes: {len(data)}, method: ONE_TIME_TOKEN}}) \
        {{ upload {{ url headers {{ name value }} }} }} }}'
    with httpx.Client(base_url=base, timeout=60) as client:
        answer = client.post("/graphql", json={"query": query}, headers={"Authorization": f"Bearer {token}"})
        found = answer.json()
        if found.get("errors"):
            assert "no space is left" in answer.text.lower()
            return answer.status_code
        upload = found["data"]["createUpload"]["upload"]
        headers = {header["name"]: header["value"] for header in upload["headers"]}
        return client.put(upload["url"], content=data, headers=headers).status_code
