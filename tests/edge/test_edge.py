"""The edge code says of every request what the application would: the same picture, or the same refusal."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packshot.geometry import Gravity
from packshot.variants.request import RequestForm
from tests.edge.bundle import DOMAIN, TENANT, bundled, expected
from tests.support.nodejs import installed
from tests.variants.test_request import forms

VECTORS = json.loads(Path(__file__).with_name("vectors.json").read_text())
LARGEST_BYTES = 10_000
PACK = "0123456789abcdef01234567"

_ASKS = """
const read = require("readline").createInterface({input: process.stdin});
read.on("line", line => console.log(JSON.stringify(route(JSON.parse(line), SETTINGS))));
"""


def case(url: str, host: str = "localhost", accept: str = "", keyed: bool = False) -> dict[str, Any]:
    path, _, query = url.partition("?")
    return {"host": host, "path": path, "query": query, "accept": accept, "keyed": keyed}


def cases() -> list[dict[str, Any]]:
    given = ("url", "host", "accept", "keyed")
    return [case(**{name: vector[name] for name in given if name in vector}) for vector in VECTORS]


def said(vector: dict[str, Any], came: dict[str, Any]) -> dict[str, Any]:
    """Return what `route` must say of a vector: its own word, or the request as it came."""
    if vector["says"] is None:
        return {"cache": False, **{name: came[name] for name in ("path", "query", "accept")}}
    path, _, query = vector["says"]["url"].partition("?")
    return {"cache": True, "path": path, "query": query, "accept": vector["says"].get("accept", "")}


@pytest.fixture(scope="module")
def route() -> Iterator[Callable[[dict[str, Any]], Any]]:
    """One Node.js that is asked again and again."""
    if shutil.which("node") is None:
        pytest.skip("needs Node.js")
    command = ["node", "-e", bundled("cloudfront") + _ASKS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
        assert node.stdin is not None
        assert node.stdout is not None
        asks, says = node.stdin, node.stdout

        def ask(case: dict[str, Any]) -> Any:
            asks.write(json.dumps(case) + "\n")
            asks.flush()
            return json.loads(says.readline())

        yield ask


@pytest.mark.parametrize(("vector", "came"), list(zip(VECTORS, cases(), strict=True)), ids=[v["why"] for v in VECTORS])
def test_the_application_says_what_the_vector_says(vector: dict[str, Any], came: dict[str, Any]) -> None:
    assert expected(came) == said(vector, came)


@pytest.mark.parametrize("program", ["node", "njs"])
def test_a_javascript_engine_says_what_the_vectors_say(program: str, tmp_path: Path) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    asks = f"{json.dumps(cases())}.forEach(one => console.log(JSON.stringify(route(one, SETTINGS))));"
    (tmp_path / "vectors.js").write_text(bundled("cloudfront") + asks)
    done = subprocess.run([program, str(tmp_path / "vectors.js")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    for vector, came, answer in zip(VECTORS, cases(), answers, strict=True):
        assert answer == said(vector, came), vector["why"]


# What is almost right, or right in an odd spelling; each parameter's own and any other's.
_NAMES = [field.replace("_", "-") for field in RequestForm.__dataclass_fields__]
_names = st.sampled_from(
    [
        *_NAMES,
        *(name.upper() for name in _NAMES),
        *("bac%E2%84%AAground", "bac\u212aground", "w%69dth", "__proto__", "constructor", "region", "", "%", "%FF"),
        *("explain", "Signature", "access-%6Bey", "expires2"),
    ]
)
_NUMBERS = (
    *("", " 5", "0", "1", "00", "0300", "100", "101", "999999999", "1000000000", "-1", "+5", "1e3", "%205"),
    *("0.5", "0.499999999", "4", "4.000000001", "250", "250.0", "250.000000001", "2.50", "00.10", ".5", "5."),
    *(
        "1.100000023841858",
        "0.4999999995",
        "4.0000000005",
        "3.99999999951",
        "1.0000000005",
        "0" * 1099 + "1",
        "1" * 1101,
    ),
)
_WORDS = ("true", "FALSE", "includeall", "INCLUDEALL", "jpg", "JPEG", "auto", "Auto", "webp", "gif", "bmp")
_values = st.one_of(
    st.sampled_from(_NUMBERS),
    st.sampled_from(_WORDS),
    st.sampled_from([gravity.value for gravity in Gravity] + ["North", "up", "thumb", "portal-cover"]),
    st.sampled_from(
        ["North-East", "SOUTH_WEST", "north--east-", "include-all", "Include_All", "t-rue", "j-pg", "-", "_"]
    ),
    st.sampled_from(["ffffff", "FFaa0080", "fff", "%23ffffff", "%66%66%66%66%66%66", "\u0660", "%D9%A0", "%ED%A0%80"]),
    st.sampled_from(["%", "%F", "%zz", "%C0%80", "%F4%90%80%80", "%EF%BB%BF", "a=b", "a%26b", "!'()*~", "a#b", "%00"]),
    st.text(max_size=6),
    st.text(max_size=6).map(lambda text: quote(text, safe="")),
    st.decimals(0, 300, places=9, allow_nan=False).map(lambda number: f"{number:f}"),
    st.decimals(0, 300, places=12, allow_nan=False).map(lambda number: f"{number:f}"),
    # Where the tenth decimal decides, and where nines carry.
    st.from_regex(r"0{0,3}[0-4](\.[09]{0,9}[4-5][0-9]{0,30})?", fullmatch=True),
    st.integers(0, 10**10).map(str),
)
_pairs = st.builds("{}={}".format, _names, _values) | _names
_queries = st.one_of(
    st.lists(_pairs, max_size=5).map("&".join),
    forms.map(RequestForm.query),
    st.tuples(forms.map(RequestForm.query), _pairs).map("&".join),
    st.text(max_size=12),
)
_accepts = st.one_of(
    st.lists(
        st.builds(
            "{}{}{}{}".format,
            st.sampled_from(["", " ", "\t", "\xa0", "\x1f"]),
            st.sampled_from(["image/avif", "IMAGE/WebP", "image/webp", "image/*", "*/*", "image/avifx", ""]),
            st.sampled_from(["", " ", "\t "]),
            st.sampled_from(
                ["", ";q=0", "; Q = 0.0", ";q=0.000", ";q=.", ";q=", ";q=0.1", ";q=00", ";v=1;q=0", ";q==0"]
            ),
        ),
        max_size=4,
    ).map(",".join),
    st.text(st.characters(max_codepoint=255), max_size=12),
)
_hosts = st.sampled_from(
    [
        *(DOMAIN, f"acme.{DOMAIN}", f"ACME.{DOMAIN.upper()}:8443", f"a_b.{DOMAIN}", f"a.b.{DOMAIN}", f".{DOMAIN}"),
        *(f"{DOMAIN}.acme", f"x{DOMAIN}", "localhost:8000", "[::1]:80", "127.0.0.1", f"acme.{DOMAIN}."),
    ]
)
_paths = st.just(f"/api/v2/img/{PACK}") | st.sampled_from(
    [f"/api/v2/img/{PACK}{rest}" for rest in ("", "-", "-1700000000", "-a-b", "/", "/picture.json", "-1/picture.json")]
    + [f"/api/v2/img/{PACK.upper()}", f"/api/v2/img/{PACK[1:]}", "/api/v2/img/", f"/x/{PACK}", f"/api/v2/img/{PACK}x"]
    + [f"/i/{tenant}/{PACK}/thumb/{PACK}/w1-h1-crop-center-q80.jpg" for tenant in ("default", "acme", "ACME")]
    + [
        f"/i/acme/{PACK}/thumb/{PACK}",
        f"/api/v2/img/acme/{PACK}-1",
        f"/api/v2/img/{TENANT}/{PACK}",
        f"/api/v2/img/a_b/{PACK}",
    ]
    + [f"/api/v2/img/acme/{PACK}/picture.json", f"/api/v2/img/{PACK}/{PACK}", f"/api/v2/img/a/b/{PACK}"]
)


# Its cost is waiting for the other side, so the same examples each time and none slow by itself.
@settings(max_examples=3000, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(query=_queries, accept=_accepts, host=_hosts, path=_paths, keyed=st.sampled_from([False] * 9 + [True]))
def test_node_and_python_agree(
    route: Callable[[dict[str, Any]], Any], query: str, accept: str, host: str, path: str, keyed: bool
) -> None:
    came = {"host": host, "path": path, "query": query, "accept": accept, "keyed": keyed}
    assert route(came) == expected(came)


def test_the_function_for_cloudfront_is_small_and_uses_nothing_new(tmp_path: Path) -> None:
    program = bundled("cloudfront")
    assert len(program.encode()) < LARGEST_BYTES
    node = installed(tmp_path / "node")
    node.copy("allowed.mjs")
    (tmp_path / "function.js").write_text(program)
    assert node.run("allowed.mjs", str(tmp_path / "function.js")).strip() == ""


@pytest.mark.parametrize(
    "line",
    [
        *("for (const a of [1]) {}", "let b = [...[1]];", "let c = a?.b;", "let {d} = {};", "let e = a ** 2;"),
        *("let f = {a};", "function g(a = 1) {}", "class H {}", "let i = /a/u;", "let j = async () => 1;"),
        *("let k = a ?? b;", "let l = a => b`c`;", "let m = {[a]: 1};", "try {} catch {}", "let n = /(?<=a)b/;"),
    ],
)
def test_what_is_new_would_be_noticed(line: str, tmp_path: Path) -> None:
    node = installed(tmp_path / "node")
    node.copy("allowed.mjs")
    (tmp_path / "function.js").write_text(line)
    command = ["node", "allowed.mjs", str(tmp_path / "function.js")]
    done = subprocess.run(command, cwd=node.folder, capture_output=True, text=True, check=False)
    # Of what it cannot read at all it says where.
    assert "line 1" in done.stdout or "(1:" in done.stderr


_HANDLES = """
const read = require("readline").createInterface({input: process.stdin});
read.on("line", line => {
  const one = JSON.parse(line);
  one.event.request.rawQueryString = () => one.raw;
  console.log(JSON.stringify(handler(one.event)));
});
"""


def handled(raw: str | None, uri: str = f"/api/v2/img/{PACK}-7", **headers: Any) -> Any:
    """Return the request that CloudFront's function gives back for one."""
    if shutil.which("node") is None:
        pytest.skip("needs Node.js")
    request = {
        "method": "GET",
        "uri": uri,
        "querystring": {"as": {"value": "parsed"}},
        "headers": {name.replace("_", "-"): value for name, value in headers.items()},
        "cookies": {"session": {"value": "1"}},
    }
    event = {"version": "1.0", "context": {"eventType": "viewer-request"}, "viewer": {"ip": "::1"}, "request": request}
    asked = json.dumps({"raw": raw, "event": event})
    command = ["node", "-e", bundled("cloudfront") + _HANDLES]
    return json.loads(subprocess.run(command, input=asked, capture_output=True, text=True, check=True).stdout)


def test_cloudfront_gets_the_request_form_the_tenant_and_the_formats() -> None:
    both = {"value": "image/webp", "multiValue": [{"value": "image/webp;q=0.5"}, {"value": "image/avif,*/*"}]}
    answer = handled(
        "WIDTH=0640&date=1&location=th%75mb",
        host={"value": f"acme.{DOMAIN}"},
        accept=both,
        authorization={"value": "Basic x"},
        user_agent={"value": "test"},
    )
    assert (answer["uri"], answer["cookies"]) == (f"/api/v2/img/acme/{PACK}", {})
    assert list(answer["querystring"].items()) == [("location", {"value": "thumb"}), ("width", {"value": "640"})]
    assert answer["headers"] == {
        "host": {"value": f"acme.{DOMAIN}"},
        "user-agent": {"value": "test"},
        "accept": {"value": "image/avif,image/webp"},
        "x-packshot-cache": {"value": "1"},
    }


def test_cloudfront_hands_on_as_it_came_what_cannot_be_shared() -> None:
    key = {"value": "secret"}
    unshared: list[tuple[str, dict[str, Any]]] = [("width=x", {}), ("signature=a&expires=1", {})]
    for raw, headers in [*unshared, ("width=1", {"x_packshot_access_key": key})]:
        headers |= {"host": {"value": "localhost"}, "accept": {"value": "image/*"}, "x_packshot_cache": {"value": "1"}}
        answer = handled(raw, **headers)
        assert answer["uri"] == f"/api/v2/img/{PACK}-7"
        assert answer["querystring"] == {"as": {"value": "parsed"}}
        assert answer["cookies"] == {"session": {"value": "1"}}
        assert answer["headers"]["accept"] == {"value": "image/*"}
        # It is in the cache's key, and a client cannot set it.
        assert "x-packshot-cache" not in answer["headers"]


def test_cloudfront_without_a_query_string_keeps_it_so() -> None:
    answer = handled(None, host={"value": "localhost"})
    assert (answer["uri"], answer["querystring"]) == (f"/api/v2/img/{TENANT}/{PACK}", {"as": {"value": "parsed"}})
    assert "accept" not in answer["headers"]


def test_cloudfront_leaves_the_query_of_a_picture_document_alone() -> None:
    answer = handled("widths=1,2&location=thumb", uri=f"/api/v2/img/{PACK}-7/picture.json", host={"value": "localhost"})
    assert answer["uri"] == f"/api/v2/img/{TENANT}/{PACK}/picture.json"
    assert answer["querystring"] == {"as": {"value": "parsed"}}
