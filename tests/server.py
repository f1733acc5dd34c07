"""`packshot serve` as a real process, and a small client of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx

from tests.servers.ports import free_port

TOKEN = "process-test-token"
PATIENCE = 60.0


class Server:
    """`packshot serve` on a free port, over one data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        self.base = f"http://127.0.0.1:{self.port}"
        self.process = self._start()
        self.client = httpx.Client(base_url=self.base, timeout=30)
        self._wait_until_ready()

    def _start(self) -> subprocess.Popen[bytes]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PACKSHOT_")}
        environ |= {"PACKSHOT_DATA": str(self.data), "PACKSHOT_ADMIN_TOKEN": TOKEN, "PACKSHOT_LOG_LEVEL": "warning"}
        command = [sys.executable, "-c", "from serve.cli import main; main()", "serve", "--port", str(self.port)]
        return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def _wait_until_ready(self) -> None:
        def ready() -> bool:
            try:
                return self.client.get("/readyz").status_code == 200
            except httpx.TransportError:
                assert self.process.poll() is None, self.output()
                return False

        wait_for(ready)

    def output(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.read().decode()

    def end(self, how: signal.Signals) -> str:
        """End the server by a signal and return what it printed."""
        self.process.send_signal(how)
        output, _ = self.process.communicate(timeout=30)
        return output.decode()

    def ask(self, query: str, **variables: Any) -> Any:
        """Run one GraphQL operation and return its data."""
        body = {"query": query, "variables": variables}
        answer = self.client.post("/graphql", json=body, headers={"Authorization": f"Bearer {TOKEN}"}).json()
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

    def pack_showing(self, data: bytes) -> tuple[str, str]:
        """Make a pack that shows a picture; return its id and the job that renders it."""
        pack_id = self.do("createPack", "input: {}", "pack { id }")["pack"]["id"]
        upload = self.announce(data)
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

    def announce(self, data: bytes) -> Any:
        return self.do(
            "createUpload",
            'input: {mediaType: "image/jpeg", bytes: $bytes}',
            "upload { id url headers { name value } }",
            bytes=("Long!", len(data)),
        )["upload"]

    def wait_for_job(self, job_id: str) -> Any:
        query = "query($id: ID!) { job(id: $id) { state total done skipped failed } }"

        def ended() -> Any:
            job = self.ask(query, id=job_id)["job"]
            return job if job["state"] not in ("QUEUED", "RUNNING") else None

        return wait_for(ended)

    def variants(self, pack_id: str) -> list[Any]:
        query = """query($id: ID!) { pack(by: {id: $id}) { locations {
            variants { url state format width height }
            picture { src sources { srcset } }
        } } }"""
        locations = self.ask(query, id=pack_id)["pack"]["locations"]
        return [variant for location in locations for variant in location["variants"]]


def wait_for(condition: Any) -> Any:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come to pass in time")


@contextmanager
def serving(data: Path) -> Iterator[Server]:
    server = Server(data)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.end(signal.SIGKILL)
        server.client.close()
        if server.process.stdout is not None:
            server.process.stdout.close()
