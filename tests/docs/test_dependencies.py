"""What the product imports comes with its own requirements, not with those of the tests."""

import ast
import re
import sys
from importlib.metadata import packages_distributions

import pytest

from tests.support.paths import ROOT

# What users may choose besides; the code does without.
OPTIONAL = {"pillow-heif"}
ROOMS = ("packshot", "pregen", "resolvers", "schema", "serve")


def normal(name: str) -> str:
    """Return a distribution's name as indexes compare it."""
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
