"""A small client of the admin API and the images, as a CMS team would write it."""

import time
from collections.abc import Callable
from io import BytesIO
from typing import Any, TypeVar

import httpx2 as httpx
from PIL import Image

T = TypeVar("T")
PATIENCE = 60.0


def wait_for(condition: Callable[[], T], seconds: float = PATIENCE) -> T:
    """Return the first truthy result of `condition`; fail after the time limit."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to pass in time")


def is_erased(client: httpx.Client, url: str) -> bool:
    """Whether the server says that an object is gone for good."""
    return client.get(url).status_code == 410


class Admin:
    """A client of one application."""

    def __init__(self, base: str, token: str) -> None:
        self.base = base
        self.token = token
        self.client = httpx.Client(base_url=base, timeout=30)

    def ask(self, query: str, **variables: Any) -> Any:
        """Run one GraphQL operation and return its data."""
        body = {"query": query, "variables": variables}
        answer = self.client.post("/graphql", json=body, headers={"Authorization": f"Bearer {self.token}"}).json()
        assert "errors" not in answer, answer
        return answer["data"]

    def do(self, field: str, arguments: str, selection: str, **variables: Any) -> Any:
        """Run one mutation that must succeed and return its payload."""
        declared = ", ".join(f"${name}: {kind}" for name, (kind, _) in variables.items())
        query = f"mutation({declared}) {{ {field}({arguments}) {{ {selection} userErrors {{ code message }} }} }}"
        if not variables:
            query = query.replace("mutation()", "mutation")
        payload = self.ask(query, **{name: value for name, (_, value) in variables.items()})[field]
        assert payload["userErrors"] == []
        return payload

    def put_location(self, name: str, width: int, height: int) -> None:
        self.do("putLocation", f'input: {{name: "{name}", width: {width}, height: {height}}}', "location { name }")

    def pack_showing(self, data: bytes, *, media_type: str = "image/jpeg") -> tuple[str, str]:
        """Create a pack with an image; return its id and the job that renders it."""
        pack_id = self.do("createPack", "input: {}", "pack { id }")["pack"]["id"]
        upload = self.announce(data, media_type=media_type)
        headers = {header["name"]: header["value"] for header in upload["headers"]}
        assert self.client.put(upload["url"], content=data, headers=headers).status_code == 200
        job = self.do(
            "setOriginal",
            'packId: $pack, location: "main", source: {uploadId: $upload}',
            "job { id }",
            pack=("ID!", pack_id),
            upload=("ID!", upload["id"]),
        )["job"]
        return pack_id, job["id"]

    def announce(self, data: bytes, *, media_type: str = "image/jpeg") -> Any:
        return self.do(
            "createUpload",
            "input: {mediaType: $media, bytes: $bytes, method: ONE_TIME_TOKEN}",
            "upload { id url headers { name value } }",
            bytes=("Long!", len(data)),
            media=("String!", media_type),
        )["upload"]

    def wait_for_job(self, job_id: str, seconds: float = PATIENCE) -> Any:
        query = "query($id: ID!) { job(id: $id) { state total done skipped failed } }"

        def ended() -> Any:
            job = self.ask(query, id=job_id)["job"]
            return job if job["state"] not in ("QUEUED", "RUNNING") else None

        return wait_for(ended, seconds)

    def variants(self, pack_id: str) -> list[Any]:
        query = """query($id: ID!) { pack(by: {id: $id}) { locations {
            variants { url state format width height }
            picture { src sources { srcset } }
        } } }"""
        locations = self.ask(query, id=pack_id)["pack"]["locations"]
        return [variant for location in locations for variant in location["variants"]]

    def check_variants(self, pack_id: str) -> int:
        """Fetch every variant of a pack and compare it with the catalog's description."""
        variants = self.variants(pack_id)
        for variant in variants:
            assert variant["state"] == "READY"
            answer = self.client.get(variant["url"])
            assert answer.status_code == 200
            with Image.open(BytesIO(answer.content)) as picture:
                assert picture.format == variant["format"]
                assert picture.size == (variant["width"], variant["height"])
                picture.load()
        return len(variants)
