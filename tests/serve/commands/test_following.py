"""The example client of the GraphQL page keeps a copy through edits, deletions and a restore."""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT
from tests.support.server import TOKEN, Server, packshot, serving

PAGE = ROOT / "docs" / "graphql.md"
CLIENT = re.compile(r"<!-- run by tests/serve/commands/test_following.py -->\n```python\n(.*?)\n```", re.DOTALL)


def follow(server: Server, folder: Path) -> dict[str, Any]:
    """Run the page's client once, and return the objects of its copy by id."""
    (client,) = CLIENT.findall(PAGE.read_text("utf-8"))
    environ = os.environ | {"SERVER": server.base, "TOKEN": TOKEN}
    subprocess.run([sys.executable, "-c", client], cwd=folder, env=environ, check=True, timeout=60)
    objects: dict[str, Any] = json.loads((folder / "copy.json").read_text())["objects"]
    return objects


def there(server: Server) -> dict[str, int]:
    """Return the version of every object of the server, by id."""
    query = "{ packs(first: 100) { nodes { id version } } locations(first: 100) { nodes { id version } } }"
    data = server.ask(query)
    return {node["id"]: node["version"] for kind in data.values() for node in kind["nodes"]}


def versions(objects: dict[str, Any]) -> dict[str, int]:
    return {id: (change["pack"] or change["location"])["version"] for id, change in objects.items()}


def make(server: Server, name: str) -> str:
    id: str = server.do("createPack", f'input: {{externalId: "{name}"}}', "pack { id }")["pack"]["id"]
    return id


def test_the_client_equals_the_server_even_after_a_restore(tmp_path: Path) -> None:
    data, backup = tmp_path / "data", tmp_path / "backup.db"
    with serving(data) as server:
        kept, gone = make(server, "kept"), make(server, "gone")
        server.put_location("thumb", 20, 10)
        assert versions(follow(server, tmp_path)) == there(server)
        with closing(sqlite3.connect(data / "packshot.db")) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)
        server.do("deletePack", f'id: "{gone}"', "deletedId")
        server.do("deleteLocation", 'name: "thumb", force: true', "deletedId")
        lost = make(server, "lost")
        server.do("updatePack", f'id: "{kept}", input: {{assetId: 5}}', "pack { id }")
        followed = follow(server, tmp_path)
        assert versions(followed) == there(server)
        assert {gone, "location:thumb"}.isdisjoint(followed)
        highest = max(change["sequenceNumber"] for change in followed.values())
        epoch = server.ask("{ viewer { epoch } }")["viewer"]["epoch"]
        server.end(signal.SIGTERM)
    for path in data.glob("packshot.db*"):
        path.unlink()
    backup.rename(data / "packshot.db")
    with serving(data) as server:
        assert server.ask("{ viewer { epoch } }")["viewer"]["epoch"] != epoch
        followed = follow(server, tmp_path)
        assert versions(followed) == there(server)
        assert lost not in followed
        assert gone in followed
        new = make(server, "new")
        assert follow(server, tmp_path)[new]["sequenceNumber"] > highest
        # `packshot restored` has the same effect when the marks were restored too.
        told = packshot(data, "restored", "--json", PACKSHOT_ADMIN_TOKEN=TOKEN)
        assert server.ask("{ changes(first: 1) { epoch } }")["changes"]["epoch"] == json.loads(told.stdout)["epoch"]
        assert versions(follow(server, tmp_path)) == there(server)
