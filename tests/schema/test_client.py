"""A typed client that is generated from the committed schema does the work of a CMS."""

import json
from pathlib import Path

from schema.export import COMMITTED
from tests.support.nodejs import installed
from tests.support.pictures import jpeg, photo
from tests.support.server import TOKEN, serving

SOURCES = ("cms.graphql", "cms.ts", "generate.mjs", "tsconfig.json")
EMITTING = ("--noEmit", "false", "--rewriteRelativeImportExtensions", "--outDir", "out")


def test_a_generated_client_gets_from_location_to_picture(tmp_path: Path) -> None:
    node = installed(tmp_path / "node")
    node.copy(*SOURCES)
    node.run("generate.mjs", str(COMMITTED), "cms.graphql")
    node.run("node_modules/typescript/bin/tsc")
    # Not every version of Node.js runs TypeScript directly.
    node.run("node_modules/typescript/bin/tsc", *EMITTING)
    (tmp_path / "photo.jpg").write_bytes(jpeg(photo(900, 600)))
    with serving(tmp_path / "data") as server:
        said = json.loads(
            node.run(
                "out/cms.js",
                PACKSHOT_GRAPHQL=f"{server.base}/graphql",
                PACKSHOT_TOKEN=TOKEN,
                PACKSHOT_PHOTO=str(tmp_path / "photo.jpg"),
            )
        )
    assert said["conflict"]["code"] == "VERSION_CONFLICT"
    assert (said["job"]["state"], said["job"]["failed"], said["state"]) == ("SUCCEEDED", 0, "READY")
    assert {answer["status"] for answer in said["fetched"]} == {200}
    assert {answer["type"] for answer in said["fetched"]} == {"image/webp", "image/jpeg"}
    assert all(answer["bytes"] > 500 for answer in said["fetched"])
