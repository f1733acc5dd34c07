"""The audits of the `graphql-http` project against a real server."""

import json
from pathlib import Path
from typing import Any

from tests.support.nodejs import installed
from tests.support.server import TOKEN, serving

# These audits expect `application/json` as the default, as before 2025. Since then the specification leaves the default
# to the server, and Packshot chooses the type whose status tells errors, also for curl.
BY_CHOICE = {
    "47DE": "SHOULD accept */* and use application/json for the content-type",
    "80D8": "SHOULD assume application/json content-type when accept is missing",
}


def test_the_server_passes_every_audit_but_those_decided_otherwise(tmp_path: Path) -> None:
    node = installed(tmp_path / "node")
    node.copy("audit.mjs")
    with serving(tmp_path / "data") as server:
        environ: dict[str, Any] = {"PACKSHOT_GRAPHQL": f"{server.base}/graphql", "PACKSHOT_TOKEN": TOKEN}
        audits = json.loads(node.run("audit.mjs", **environ))
    assert len([audit for audit in audits if audit["name"].startswith("MUST")]) >= 12
    failed = {audit["id"]: audit["name"] for audit in audits if audit["status"] != "ok"}
    assert failed == BY_CHOICE
