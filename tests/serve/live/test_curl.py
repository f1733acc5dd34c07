"""The examples of the old documentation of live resize, run with curl. Only host, port and file names differ."""

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.admin import wait_for
from tests.support.paths import ROOT
from tests.support.pictures import jpeg, photo, png
from tests.support.server import Server, serving

PAGE = ROOT / "docs" / "live-resize.md"

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

# The documented commands, with other file names.
ASK = """curl -vvv -XPOST http://localhost:1337/token -d '{"id": "test"}' -H "Content-Type: application/json" """
UPLOAD = """curl -vvv -XPOST http://localhost:1337/test.jpg -H "X-Token: earlier-return-value" -F "image=@test.jpg" """
QUICK = r"""
RES=`curl -vvv -XPOST http://localhost:$PORT/token -d "{\"id\": \"${IMAGE}\"}" -H "Content-Type: application/json"`
TOKEN=`echo $RES | jq -r .token`
curl -vvv -XPOST http://localhost:$PORT/${IMAGE} -H "X-Token: ${TOKEN}" -F "image=@IMG_7419.PNG"
"""

# A replacement for jq where it is not installed.
JQ = f"jq() {{ {shlex.quote(sys.executable)} -c 'import json, sys; print(json.load(sys.stdin)[\"token\"])'; }}\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with live resize at the root of `localhost`, as in the old service."""
    settings: dict[str, Any] = {
        "PACKSHOT_LIVE_HOST": "localhost",
        "PACKSHOT_MAX_WIDTH": "800",
        "PACKSHOT_MAX_HEIGHT": "800",
    }
    with serving(tmp_path_factory.mktemp("live") / "data", **settings) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "test.jpg").write_bytes(jpeg(photo(400, 300), quality=90))
    (tmp_path / "IMG_7419.PNG").write_bytes(png(photo(64, 48)))
    return tmp_path


def shell(server: Server, folder: Path, script: str) -> str:
    """Run an example with the server's port, and return its output."""
    script = script.replace("localhost:1337", f"localhost:{server.port}")
    if shutil.which("jq") is None:
        script = JQ + script
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def get(server: Server, folder: Path, path: str, *options: str) -> tuple[int, dict[str, str], bytes]:
    """Fetch a path with curl; return status, headers and body."""
    url = f"http://localhost:{server.port}{path}"
    command = ["curl", "-sS", "-D", "headers", "-o", "body", "-w", "%{http_code}", *options, url]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    lines = (folder / "headers").read_text().rpartition("HTTP/")[2].splitlines()[1:]
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    return int(done.stdout), headers, (folder / "body").read_bytes()


def token_of(server: Server, folder: Path, image_id: str) -> str:
    said = shell(server, folder, ASK.replace('"test"', f'"{image_id}"'))
    return str(json.loads(said)["token"])


def test_an_upload_with_a_token_works_once(server: Server, folder: Path) -> None:
    token = json.loads(shell(server, folder, ASK))["token"]
    upload = UPLOAD.replace("earlier-return-value", token)
    done = json.loads(shell(server, folder, upload))
    assert done == {"status": "OK", "id": "test", "original_height": 300, "original_width": 400}
    again = json.loads(shell(server, folder, upload))
    assert (again["status"], again["code"]) == (403, "FORBIDDEN")


def test_the_quick_example_uploads_an_image(server: Server, folder: Path) -> None:
    said = shell(server, folder, f"PORT={server.port} IMAGE=IMG_7419\n{QUICK}")
    assert json.loads(said)["original_width"] == 64
    status, headers, body = get(server, folder, "/IMG_7419.png")
    assert (status, headers["content-type"], body) == (200, "image/png", (folder / "IMG_7419.PNG").read_bytes())


def test_the_example_of_docs_live_resize_works(server: Server, folder: Path) -> None:
    script = re.search(
        r"<!-- run by tests/serve/live/test_curl.py -->\n```sh\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL
    )
    assert script is not None
    (folder / "photo.jpg").write_bytes(jpeg(photo(160, 120)))
    said = shell(server, folder, f"SERVER=http://localhost:{server.port}\n{script[1]}")
    assert json.loads(said) == {"status": "OK", "id": "holiday", "original_height": 120, "original_width": 160}
    with Image.open(folder / "small.webp") as image:
        assert (image.size, image.format) == ((600, 600), "WEBP")


@pytest.fixture
def example(server: Server, folder: Path) -> None:
    """The image `example` of the old documentation, 400x300."""
    if get(server, folder, "/example.jpg")[0] == 404:
        token = token_of(server, folder, "example")
        assert get(server, folder, "/example.jpg", "-H", f"X-Token: {token}", "-F", "image=@test.jpg")[0] == 200


@pytest.mark.usefixtures("example")
@pytest.mark.parametrize(
    ("url", "size", "kind"),
    [
        ("/example_100_100.png", (100, 75), "PNG"),
        ("/example_100_100.jpg?fit=crop", (100, 100), "JPEG"),
        ("/example_100_100.jpg?fit=canvas", (100, 100), "JPEG"),
        ("/example_100_100.jpg?fit=cover", (133, 100), "JPEG"),
        ("/example_100_100.jpg?blur=true", (100, 75), "JPEG"),
        ("/example_100_100.jpg?quality=75", (100, 75), "JPEG"),
        ("/example_100_100.jpg?fit=crop&blur=true&quality=auto", (100, 100), "JPEG"),
        ("/example_104_104_2x.png", (208, 156), "PNG"),
        ("/example_40_40_13x.png", (520, 390), "PNG"),
        ("/example_1040_1040.png", (800, 600), "PNG"),
    ],
)
def test_every_documented_option_of_a_url_works(
    server: Server, folder: Path, url: str, size: tuple[int, int], kind: str
) -> None:
    status, _, body = get(server, folder, url, "-L")
    assert status == 200
    with Image.open(BytesIO(body)) as image:
        assert (image.size, image.format) == (size, kind)


@pytest.mark.usefixtures("example")
def test_the_original_is_served_and_large_sizes_redirect(server: Server, folder: Path) -> None:
    assert get(server, folder, "/example.jpg")[2] == (folder / "test.jpg").read_bytes()
    status, headers, _ = get(server, folder, "/example_1040_1040_2x.png?fit=crop")
    assert (status, headers["location"]) == (307, "example_800_800.png?fit=crop")
    assert headers["x-redirect-info"]
    assert get(server, folder, "/robots.txt")[2].splitlines() == [b"User-agent: *", b"Disallow: /"]


def test_a_crop_in_the_upload_url_is_applied(server: Server, folder: Path) -> None:
    token = token_of(server, folder, "cropped")
    query = "/cropped.jpg?x=30&y=40&width=100&height=200"
    _, _, body = get(server, folder, query, "-H", f"X-Token: {token}", "-F", "image=@test.jpg")
    assert json.loads(body) == {"status": "OK", "id": "cropped", "original_height": 200, "original_width": 100}
    with Image.open(BytesIO(get(server, folder, "/cropped_500_500.png")[2])) as image:
        assert image.size == (250, 500)


def test_an_upload_interrupted_by_kill_9_leaves_the_id_free(folder: Path) -> None:
    data, settings = folder / "data", dict[str, Any](PACKSHOT_LIVE_HOST="localhost")
    with serving(data, **settings) as server:
        token = token_of(server, folder, "film")
        head = (
            f"POST /film.jpg HTTP/1.1\r\nHost: localhost\r\nX-Token: {token}\r\nContent-Length: 100000\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
        )
        with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
            client.sendall(head.encode() + jpeg(photo(64, 64))[:1000])
            wait_for(lambda: any((data / "incoming").iterdir()))
            server.end(signal.SIGKILL)
    with serving(data, **settings) as server:
        assert get(server, folder, "/film.jpg")[0] == 404
        upload = ["-F", "image=@test.jpg"]
        assert get(server, folder, "/film.jpg", "-H", f"X-Token: {token}", *upload)[0] == 403
        fresh = token_of(server, folder, "film")
        assert get(server, folder, "/film.jpg", "-H", f"X-Token: {fresh}", *upload)[0] == 200
        assert list((data / "incoming").iterdir()) == []
