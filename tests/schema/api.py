"""A client of the schema for tests: it executes documents, and checks payloads and errors."""

import asyncio
from typing import Any

from strawberry.types import ExecutionResult

from schema.build import schema
from schema.request.context import Context
from tests.support.playground import Playground

USER_ERRORS = """userErrors {
  __typename code message field expected got
  ... on VersionConflict { currentVersion current { __typename id } }
  ... on Taken { existing { __typename id } }
  ... on ForceRequired { plan { name packs } }
}"""

PUT_LOCATION = f"""
mutation Put($input: LocationInput!, $expectedVersion: Int) {{
  putLocation(input: $input, expectedVersion: $expectedVersion) {{
    location {{ name version label width height resizeGravity useResizeIncludeAll allowUpscale
                fallback {{ name }} renditions {{ width height dpr }} formats }}
    job {{ id kind state location {{ name }} }}
    {USER_ERRORS}
  }}
}}"""

CREATE_PACK = f"""
mutation Create($input: PackInput) {{
  createPack(input: $input) {{
    pack {{ id version assetId externalId mainLocation resizeGravity useResizeIncludeAll }}
    {USER_ERRORS}
  }}
}}"""

SET_ORIGINAL = f"""
mutation Original($pack: ID!, $location: String!, $upload: ID!, $expectedVersion: Int) {{
  setOriginal(packId: $pack, location: $location, source: {{uploadId: $upload}}, expectedVersion: $expectedVersion) {{
    packLocation {{ id name source original {{ sha256 width height mediaType bytes }} currentUrl }}
    pack {{ id version }}
    job {{ id state total }}
    {USER_ERRORS}
  }}
}}"""

SET_CROP = f"""
mutation Crop($pack: ID!, $location: String!, $crop: CropInput!, $expectedVersion: Int) {{
  setCrop(packId: $pack, location: $location, crop: $crop, expectedVersion: $expectedVersion) {{
    packLocation {{ id currentUrl crop {{ topLeftX topLeftY bottomRightX bottomRightY }} }}
    pack {{ id version }}
    job {{ id state }}
    {USER_ERRORS}
  }}
}}"""

REGENERATE = f"""
mutation Regenerate($scope: JobScope!) {{
  regenerate(scope: $scope) {{ job {{ id kind state priority location {{ name }} }} {USER_ERRORS} }}
}}"""


def crop(left: float, top: float, right: float, bottom: float) -> dict[str, float]:
    """Return a crop as GraphQL input."""
    return {"topLeftX": left, "topLeftY": top, "bottomRightX": right, "bottomRightY": bottom}


class Api:
    """A client of one tenant."""

    def __init__(self, playground: Playground) -> None:
        self.playground = playground
        self.caller = playground.caller

    def run(self, document: str, **variables: Any) -> ExecutionResult:
        """Execute a document, and return its data and errors."""
        result = asyncio.run(schema.execute(document, variable_values=variables, context_value=Context(self.caller)))
        assert isinstance(result, ExecutionResult)
        return result

    def data(self, document: str, **variables: Any) -> Any:
        """Execute a document that must succeed, and return its data."""
        result = self.run(document, **variables)
        assert result.errors is None, result.errors
        return result.data

    def payload(self, document: str, **variables: Any) -> Any:
        """Execute one mutation that must succeed, and return its payload."""
        (payload,) = self.data(document, **variables).values()
        assert payload["userErrors"] == []
        return payload

    def refusal(self, document: str, **variables: Any) -> Any:
        """Execute one mutation that must be refused, and return its only user error. Other fields must be null."""
        (payload,) = self.data(document, **variables).values()
        (error,) = payload.pop("userErrors")
        assert set(payload.values()) == {None}
        return error

    def error(self, document: str, **variables: Any) -> dict[str, Any]:
        """Execute a document with one top-level error, and return that error as clients get it."""
        result = self.run(document, **variables)
        assert result.errors is not None
        (error,) = result.errors
        return dict(error.formatted)
