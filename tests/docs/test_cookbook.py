"""Run every example of docs/graphql.md in order against a new installation."""

import json
import re
from pathlib import Path
from typing import Any

from graphql import OperationDefinitionNode, parse

from tests.support.paths import ROOT
from tests.support.pictures import jpeg, photo
from tests.support.server import TOKEN, Server, serving

PAGE = ROOT / "docs" / "graphql.md"
EXAMPLE = re.compile(r"(?<=\n)```graphql\n(.*?)\n```", re.DOTALL)
PHOTO = jpeg(photo(1600, 1200))
# The expected refusal by the beginning of the example.
REFUSED = {
    'mutation ($pack: ID!) {\n  setCrop(packId: $pack, location: "thumb"': "INVALID",
    'mutation {\n  deleteLocation(name: "thumb")': "IN_USE",
}


class Reader:
    """Run examples in order, and remember ids and versions from their responses."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.known: dict[str, Any] = {"bytes": len(PHOTO), "since": 0, "cursor": None, "pack": "0" * 24}

    def run(self, example: str) -> dict[str, Any]:
        (operation,) = parse(example).definitions
        assert isinstance(operation, OperationDefinitionNode)
        names = [definition.variable.name.value for definition in operation.variable_definitions or ()]
        variables = {name: self.known[name] for name in names}
        data: dict[str, Any]
        data = self.follow(example, variables) if example.startswith("subscription") else self.ask(example, variables)
        self.remember(data)
        return data

    def ask(self, example: str, variables: dict[str, Any]) -> Any:
        return self.server.ask(example, **variables)

    def follow(self, example: str, variables: dict[str, Any]) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}", "Accept": "text/event-stream"}
        body = {"query": example, "variables": variables}
        answer = self.server.client.post("/graphql", json=body, headers=headers)
        events = [json.loads(text) for text in re.findall(r"event: next\r?\ndata: (.*)", answer.text)]
        assert events
        assert not [message for message in events if "errors" in message]
        return events[-1]["data"]

    def remember(self, said: Any) -> None:
        """Remember ids and versions by name, and send the bytes of an upload."""
        for name, value in said.items() if isinstance(said, dict) else ():
            if name in ("pack", "job", "upload") and isinstance(value, dict) and "id" in value:
                self.known[name] = value["id"]
            if name == "pack" and isinstance(value, dict) and "version" in value:
                self.known["version"] = value["version"]
            if name == "upload" and value:
                headers = {header["name"]: header["value"] for header in value["headers"]}
                sent = self.server.client.request(value["method"], value["url"], content=PHOTO, headers=headers)
                assert sent.status_code == 200
            if name == "packLocation" and "currentUrl" in (value or {}):
                assert value["currentUrl"] is None or self.server.client.get(value["currentUrl"]).status_code == 200
            self.remember(value)


def refusals(said: Any) -> list[str]:
    if isinstance(said, dict):
        own = [error["code"] for error in said.get("userErrors", ())]
        return own + [code for value in said.values() for code in refusals(value)]
    return [code for value in said for code in refusals(value)] if isinstance(said, list) else []


def test_every_example_of_the_page_works(tmp_path: Path) -> None:
    examples = EXAMPLE.findall(PAGE.read_text("utf-8"))
    assert len(examples) > 20
    answers: dict[str, list[Any]] = {}
    with serving(tmp_path / "data") as server:
        reader = Reader(server)
        for example in examples:
            said = reader.run(example)
            expected = [code for beginning, code in REFUSED.items() if example.startswith(beginning)]
            assert refusals(said) == expected, (example, said)
            answers.setdefault(example, []).append(said)
    repeated = [said for said in answers.values() if len(said) > 1]
    assert repeated
    assert all(first == again for first, again in repeated)
