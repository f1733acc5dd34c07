"""The flows of the old service's documents: curl runs every example of docs/rest.md in order against a server."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.servers.host import Host, giving
from tests.support.paths import ROOT
from tests.support.pictures import corners, jpeg, photo
from tests.support.server import TOKEN, Server, serving

PAGE = ROOT / "docs" / "rest.md"
EXAMPLE = re.compile(r"<!-- run by \S+ -->\n```sh\n(.*?)```(?:\n\n```json\n(.*?)```)?", re.DOTALL)
ELSEWHERE = "https%3A//pictures.example/poster.jpg"
# These values differ between installations.
CHANGING = {"id", "job", "added", "updated", "created", "modified", "sequenceNumber", "expiresAt"}
CHANGING |= {"cpuSeconds", "wallSeconds", "bytes", "render", "reuse"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "data", PACKSHOT_FETCH_ALLOW="127.0.0.1") as server:
        yield server


class Reader:
    """A user who pastes example after example, and keeps the ids of the responses."""

    def __init__(self, server: Server, folder: Path, host: Host) -> None:
        self.host = host
        self.folder = folder
        self.environ = {**os.environ, "SERVER": server.base, "TOKEN": TOKEN}

    def run(self, example: str) -> list[Any]:
        """Run an example with only the image's URL replaced, and return its responses."""
        script = example.replace(ELSEWHERE, self.host.url("/poster.jpg").replace(":", "%3A", 1))
        quiet = script.replace("curl ", "curl --silent --show-error --write-out '\\n' ")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", quiet],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), example
        answers = [json.loads(line) for line in done.stdout.splitlines() if line]
        for answer in answers:
            if re.match("[0-9a-f]{24}", answer.get("id", "")):
                self.environ |= {"ID": answer["id"], "PACK": answer["id"].partition("-")[0]}
        return answers


def alike(written: Any, told: Any, name: str = "") -> bool:
    """Whether a response equals the documented one, except for values that differ between installations."""
    if isinstance(written, dict):
        return list(written) == list(told) and all(alike(written[key], told[key], key) for key in written)
    if isinstance(written, list):
        return len(written) == len(told) and all(alike(*pair) for pair in zip(written, told, strict=True))
    if name in CHANGING:
        shape = re.compile(r"[0-9a-f]+(?=-|$)|\d+")
        return type(written) is type(told) and (
            not isinstance(told, str) or "…" in written or shape.sub("0", written) == shape.sub("0", told)
        )
    return bool(written == told)


def test_every_example_of_the_page_gets_the_documented_response(server: Server, tmp_path: Path, host: Host) -> None:
    (tmp_path / "photo.jpg").write_bytes(jpeg(photo(1200, 800)))
    (tmp_path / "poster.jpg").write_bytes(jpeg(corners(600, 900)))
    host.answers["/poster.jpg"] = giving(jpeg(corners(1200, 1800)))
    reader = Reader(server, tmp_path, host)
    found = EXAMPLE.findall(PAGE.read_text("utf-8"))
    assert len(found) == PAGE.read_text("utf-8").count("```sh") == 10
    answers: list[Any] = []
    for example, written in found:
        answers += reader.run(example)
        if written:
            assert alike(json.loads(written), answers[-1]), (example, answers[-1])
    errors = [answer["code"] for answer in answers if "code" in answer]
    assert errors == ["FORCE_REQUIRED"], "only the documented error"
    with Image.open(tmp_path / "cover.jpg") as cover:
        assert (cover.format, cover.size) == ("JPEG", (150, 225))
        red, green, blue = cover.convert("RGB").getpixel((5, 5))  # type: ignore[misc]
        assert red > 150 > max(green, blue), "the poster that was fetched"
    (live,) = [answer for answer in answers if answer.get("width") == 320]
    assert live["name"] == "portal-cover"


def test_a_replaced_picture_is_shown_at_once_under_the_same_url(server: Server, tmp_path: Path, host: Host) -> None:
    (tmp_path / "photo.jpg").write_bytes(jpeg(corners(80, 60)))
    upload = next(example for example, _ in EXAMPLE.findall(PAGE.read_text("utf-8")) if "photo.jpg" in example)
    reader = Reader(server, tmp_path, host)
    reader.environ["PACK"] = server.do("createPack", "input: {}", "pack { id }")["pack"]["id"]
    (first,) = reader.run(upload)
    url = f"/api/v2/img/{reader.environ['PACK']}?location=main"
    before = server.client.get(url)
    (tmp_path / "photo.jpg").write_bytes(jpeg(photo(80, 60)))
    (second,) = reader.run(upload)
    after = server.client.get(url, headers={"If-None-Match": before.headers["etag"]})
    assert after.status_code == 200
    assert after.content != before.content
    assert second["id"] != first["id"], "so that caches without purges see a new URL"
    with Image.open(BytesIO(server.client.get(f"/api/v2/img/{second['id']}").content)) as picture:
        assert picture.size == (80, 60)
