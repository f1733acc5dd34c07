"""Packages that the product imports are in its own requirements, not only in those of the tests."""

import ast
import re
import sys
from importlib.metadata import packages_distributions

import pytest

from tests.support.paths import ROOT

# Optional packages: the code works without them.
OPTIONAL = {"pillow-heif"}
ROOMS = ("packshot", "pregen", "resolvers", "schema", "serve")


def normal(name: str) -> str:
    """Return the name of a distribution in the form that indexes compare."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS)
def test_every_imported_package_is_installed_with_packshot(room: str) -> None:
    locked = {
        normal(found[1]) for found in re.finditer(r"^([\w.-]+)==", (ROOT / "requirements-scale.txt").read_text(), re.M)
    }
    locked |= OPTIONAL
    distributions = packages_distributions()
    missing = {}
    for path in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in {name.partition(".")[0] for name in names} - sys.stdlib_module_names - set(ROOMS):
                if not {normal(each) for each in distributions.get(name, [name])} & locked:
                    missing[name] = str(path.relative_to(ROOT))
    assert not missing
