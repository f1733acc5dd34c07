"""The edge code as it is deployed, and what it should say by Packshot's own rules."""

import re
import subprocess
import sys
from typing import Any
from urllib.parse import unquote

from starlette.requests import Request

from packshot.errors import Invalid, NotFound
from packshot.settings.settings import Settings
from packshot.variants.request import FormatChoice, RequestForm
from resolvers.urls.build import PICTURE, STABLE
from resolvers.urls.parse import read_address
from serve.http.negotiation import accepted_formats
from tests.support.paths import ROOT

BUNDLE = ROOT / "infra" / "edge" / "bundle"
DOMAIN, TENANT = "img.example", "default"
PERSONAL = {"access-key", "expires", "signature", "explain"}
SETTINGS = Settings(tenant_domain=DOMAIN, tenant=TENANT)


def bundled(place: str) -> str:
    """Return the program for one place."""
    command = [sys.executable, str(BUNDLE), place, "--domain", DOMAIN, "--tenant", TENANT]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def expected(case: dict[str, Any]) -> dict[str, Any]:
    """Return what `route` should say of a request, worked out by what answers it in the end."""
    as_it_came = {"cache": False, **{name: case[name] for name in ("path", "query", "accept")}}
    plain = re.fullmatch(r'[!-"$-~]*', case["query"])
    # A path with escapes is a path of an image too, but no client writes it so.
    if case["keyed"] or not plain or any(_name(pair) in PERSONAL for pair in case["query"].split("&")):
        return as_it_came
    is_form = not case["path"].startswith("/i/") and not case["path"].endswith(PICTURE)
    try:
        address = read_address(SETTINGS, _hostname(case["host"]), case["path"], case["query"] if is_form else "")
    except (Invalid, NotFound):
        return as_it_came
    if address.key is not None:
        return {"cache": True, "path": address.path, "query": "", "accept": ""}
    path = address.path.replace(STABLE, f"{STABLE}/{address.tenant}")
    if not isinstance(address.form, RequestForm):
        return {"cache": True, "path": path, "query": case["query"], "accept": ""}
    accept = ""
    if address.form.format in (None, FormatChoice.AUTO):
        accept = ",".join(sorted(format.media_type for format in accepted_formats(case["accept"])))
    return {"cache": True, "path": path, "query": address.form.query(), "accept": accept}


def _hostname(host: str) -> str | None:
    headers = [(b"host", host.encode("latin-1"))]
    scope = {"type": "http", "scheme": "http", "path": "/", "query_string": b"", "headers": headers, "server": None}
    return Request(scope).url.hostname


def _name(pair: str) -> str:
    name = pair.partition("=")[0]
    try:
        # What is broken names nothing, and is refused.
        return "" if re.search("%(?![0-9A-Fa-f]{2})", name) else unquote(name, errors="strict").lower()
    except UnicodeDecodeError:
        return ""
