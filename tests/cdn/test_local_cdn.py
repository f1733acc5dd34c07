"""The behaviour of the local CDN in front of simulated applications and a simulated bucket."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx2 as httpx
import pytest

from packshot.cdn.varnish import VarnishPurger
from tests.cdn.conftest import DOMAIN, StandIn
from tests.cdn.origin import Answer, Origin, OriginRequest, picture
from tests.servers import local_cdn
from tests.servers.local_cdn import RUN
from tests.servers.ports import free_port
from tests.support.admin import wait_for

PACK = "0123456789abcdef01234567"
URL = f"/api/v2/img/{PACK}"
ASKED = f"/api/v2/img/default/{PACK}"
KEY = f"/i/default/{PACK}/thumb/{PACK}/w640-h360-crop-center-q80.jpg"
SHA = "0123456789abcdef" * 4


def asked(*servers: Origin) -> list[str]:
    return [one.url for server in servers for one in server.seen]


def both(stand_in: StandIn, answer: Callable[[OriginRequest], Answer]) -> None:
    stand_in.app.answer = stand_in.other.answer = answer


def test_equal_requests_share_one_copy_in_any_spelling(stand_in: StandIn) -> None:
    spellings = [
        "?width=640&location=thumb",
        "?LOCATION=th%75mb&Width=0640&date=17",
        "-1662654467834?location=thumb&width=640&width=9",
        "?region=x&location=thumb&&width=640&",
    ]
    answers = [stand_in.cdn.get(URL + spelling) for spelling in spellings]
    answers.append(stand_in.cdn.get(f"{ASKED}?location=thumb&width=640"))
    assert {answer.content for answer in answers} == {f"{ASKED}?location=thumb&width=640".encode()}
    assert [answer.headers["x-packshot-cache"] for answer in answers] == ["miss"] + ["hit"] * 4
    assert asked(stand_in.app, stand_in.other) == [f"{ASKED}?location=thumb&width=640"]


def test_only_tenants_by_host_and_by_path_share_a_copy(stand_in: StandIn) -> None:
    acme = f"/api/v2/img/acme/{PACK}".encode()
    assert stand_in.cdn.get(URL).content == ASKED.encode()
    assert stand_in.cdn.get(URL, Host=f"acme.{DOMAIN}").content == acme
    by_path = stand_in.cdn.get(acme.decode())
    assert (by_path.content, by_path.headers["x-packshot-cache"]) == (acme, "hit")
    elsewhere = stand_in.cdn.get(acme.decode(), Host=f"other.{DOMAIN}")
    assert elsewhere.headers["x-packshot-cache"] == "pass"


def test_formats_are_cached_separately_only_if_negotiated(stand_in: StandIn) -> None:
    def answer(one: OriginRequest) -> Answer:
        said = picture(one.headers.get("accept", "none").encode(), "all")
        return said if "width" in one.url else Answer(said.body, 200, said.headers | {"Vary": "Accept"})

    both(stand_in, answer)
    chrome, safari = "image/avif,image/webp,image/apng,*/*;q=0.8", "image/webp,image/png,*/*;q=0.8"
    for accept, formats in [(chrome, b"image/avif,image/webp"), (safari, b"image/webp"), ("image/*", b"none")]:
        assert stand_in.cdn.get(f"{URL}?format=auto", Accept=accept).content == formats
        again = stand_in.cdn.get(f"{URL}?format=AUTO&x=1", Accept=f"text/html;q=0,{accept}")
        assert (again.content, again.headers["x-packshot-cache"]) == (formats, "hit")
    # The tenant's policy might have been to negotiate, but it was not: all requests get the first response.
    assert stand_in.cdn.get(f"{URL}?width=1", Accept=chrome).content == b"image/avif,image/webp"
    assert stand_in.cdn.get(f"{URL}?width=1", Accept="*/*").headers["x-packshot-cache"] == "hit"
    # With a format in the URL the header has no effect, and the application does not get it.
    assert stand_in.cdn.get(f"{URL}?width=1&format=png", Accept=chrome).content == b"none"
    assert stand_in.cdn.get(f"{URL}?width=1&format=png", Accept="*/*").headers["x-packshot-cache"] == "hit"


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (f"{URL}?width=x", {}),
        (f"{URL}?location=%ff", {}),
        (f"{URL}?width=1&signature=abc&expires=1", {}),
        (f"{URL}-7?Access-Key=secret", {}),
        (f"{URL}?width=1", {"X-Packshot-Access-Key": "secret"}),
        (KEY, {"X-vimond-access-key": "secret"}),
        (f"{URL}?explain=1", {"Authorization": "Bearer secret"}),
    ],
)
def test_invalid_and_personal_requests_reach_the_application_unchanged(
    stand_in: StandIn, path: str, headers: dict[str, str]
) -> None:
    for _ in range(2):
        answer = stand_in.cdn.client.get(path, headers=headers | {"Accept": "image/x"})
        assert (answer.content, answer.headers["x-packshot-cache"]) == (path.encode(), "pass")
    seen = stand_in.app.seen + stand_in.other.seen
    assert [one.url for one in seen] == [path] * 2
    for one in seen:
        assert headers.items() <= {(name, one.headers.get(name.lower())) for name in headers}
        assert one.headers["accept"] == "image/x"
    assert stand_in.bucket.seen == []


def test_shared_copies_contain_no_cookies_and_credentials(stand_in: StandIn) -> None:
    stand_in.cdn.get(URL, Cookie="a=b", Authorization="Basic eDp5", X_Packshot_Cache="0", X_Packshot_Turn="stale")
    again = stand_in.cdn.get(URL, Cookie="c=d")
    assert again.headers["x-packshot-cache"] == "hit"
    (seen,) = stand_in.app.seen + stand_in.other.seen
    assert not {"cookie", "authorization", "x-packshot-turn"} & seen.headers.keys()


def test_clients_get_only_the_headers_for_them(stand_in: StandIn) -> None:
    stand_in.cdn.get(URL)
    answer = stand_in.cdn.get(URL)
    assert answer.headers["cache-control"] == ("public, max-age=60, stale-while-revalidate=60, stale-if-error=86400")
    assert not {"age", "xkey", "via", "x-varnish"} & answer.headers.keys()


def test_head_range_and_conditions(stand_in: StandIn) -> None:
    date = "Sat, 21 Nov 2026 12:00:00 GMT"
    both(stand_in, lambda _: picture(b"0123456789", "all", Last_Modified=date))
    head = stand_in.cdn.client.head(URL)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "10")
    part = stand_in.cdn.get(URL, Range="bytes=2-4")
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    assert stand_in.cdn.get(URL, If_None_Match=part.headers["etag"]).status_code == 304
    # An invalid range is ignored, as in the application.
    for odd in ("bytes=0-1,5-6", "bytes=5-2", "lines=0-1", "bytes = 0-1", "bytes=-999999999999999999999"):
        assert (stand_in.cdn.get(URL, Range=odd).status_code, odd) == (200, odd)
    assert stand_in.cdn.get(URL, Range="bytes=5-5").content == b"5"
    absent = stand_in.cdn.get(URL, Range="bytes=10-")
    assert (absent.status_code, absent.headers["content-type"]) == (416, "application/problem+json")
    assert absent.headers.get_list("cache-control") == ["no-store"]
    assert (absent.json()["status"], absent.headers["content-range"]) == (416, "bytes */10")
    # A date does not show changes within the same second.
    assert stand_in.cdn.get(URL, If_Modified_Since=date).status_code == 200
    assert stand_in.cdn.get(URL, Range="bytes=2-4", If_Range=date).content == b"0123456789"
    assert stand_in.cdn.get(URL, Range="bytes=2-4", If_Range=part.headers["etag"]).status_code == 206
    assert len(stand_in.app.seen + stand_in.other.seen) == 1
    # The whole image, although the first client wanted a part.
    first = stand_in.cdn.get(f"{URL}?width=7", Range="bytes=8-")
    assert (first.status_code, first.content) == (206, b"89")
    assert stand_in.cdn.get(f"{URL}?width=7").content == b"0123456789"


@pytest.mark.parametrize("soft", [True, False])
def test_a_purge_by_tag_removes_only_copies_with_the_tag(stand_in: StandIn, soft: bool) -> None:
    turns = iter(range(100))
    both(stand_in, lambda one: picture(b"%d" % next(turns), f"all t:default l:default:{one.url[-5:]}"))
    for location in ("thumb", "cover"):
        stand_in.cdn.get(f"{URL}?location={location}")
    assert stand_in.cdn.purge("l:default:nowhere", "l:default:thumb", soft=soft) == 1
    assert stand_in.cdn.get(f"{URL}?location=thumb").content == b"2"
    assert stand_in.cdn.get(f"{URL}?location=thumb").content == b"2"
    assert stand_in.cdn.get(f"{URL}?location=cover").content == b"1"


def test_the_cdn_accepts_packshots_purger(stand_in: StandIn) -> None:
    purger = VarnishPurger([f"http://127.0.0.1:{stand_in.cdn.cache_port}"])
    assert purger.check() == "Varnish, 1 of 1 take purges"
    many = [f"p:{'t' * 63}:{number:024x}" for number in range(purger.most_tags - 1)]
    for erasing in (False, True):
        stand_in.cdn.get(URL)
        purger.purge([*many, "all"], reference="1", erasing=erasing)
        assert stand_in.cdn.get(URL).headers["x-packshot-cache"] == "miss"


def test_clients_cannot_purge(stand_in: StandIn) -> None:
    stand_in.cdn.get(URL)
    for method in ("PURGE", "DELETE", "POST"):
        answer = stand_in.cdn.client.request(method, URL, headers={"Xkey-Purge": "all"})
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert stand_in.cdn.get(URL).headers["x-packshot-cache"] == "hit"
    for path in ("/", "/graphql", "/adminAPI/images", f"/api/v2/img/../../../graphql?{PACK}"):
        assert stand_in.cdn.get(path).status_code == 404


def test_live_urls_are_passed_on_unchanged_and_uploads_are_refused(stand_in: StandIn) -> None:
    path = "/live/a%20b_10_10_2x.jpg?fit=crop&Quality=7"
    for _ in range(2):
        answer = stand_in.cdn.client.get(path, headers={"X-Packshot-Cache": "1"})
        assert (answer.content, answer.headers["x-packshot-cache"]) == (path.encode(), "pass")
    assert asked(stand_in.app, stand_in.other) == [path] * 2
    for method, place in (("POST", "/live/token"), ("POST", "/live/a.jpg"), ("PURGE", "/live/a_1_1.jpg")):
        answer = stand_in.cdn.client.request(method, place, headers={"Xkey-Purge": "all"})
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_a_purge_from_elsewhere_is_refused(tmp_path: Path, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_CDN_PURGERS", "192.0.2.0/24 2001:db8::1")
    with local_cdn.running(tmp_path / "cdn", [stand_in.app.url]) as cdn:
        answer = httpx.request("PURGE", f"http://127.0.0.1:{cdn.cache_port}/", headers={"Xkey-Purge": "all"})
    assert answer.status_code == 403


@pytest.mark.parametrize("soft", [True, False])
def test_the_second_purge_removes_a_slow_fill(stand_in: StandIn, soft: bool) -> None:
    begun, resumed = threading.Event(), threading.Event()

    def old(_: OriginRequest) -> Answer:
        begun.set()
        assert resumed.wait(20)
        return picture(b"old", "all p:default:1")

    both(stand_in, old)
    first = threading.Thread(target=stand_in.cdn.get, args=(URL,))
    first.start()
    assert begun.wait(20)
    both(stand_in, lambda _: picture(b"new", "all p:default:1"))
    assert stand_in.cdn.purge("p:default:1", soft=soft) == 0
    resumed.set()
    first.join()
    # The second purge removes it.
    assert stand_in.cdn.get(URL).content == b"old"
    assert stand_in.cdn.purge("p:default:1", soft=soft) == 1
    assert stand_in.cdn.get(URL).content == b"new"


def test_a_stale_image_is_shown_only_while_there_is_no_new_one(stand_in: StandIn) -> None:
    both(stand_in, lambda _: picture(b"old", "all", Vary="Accept"))
    stand_in.cdn.get(URL)
    stand_in.cdn.get(URL, Accept="image/webp")
    stand_in.cdn.purge("all", soft=True)
    for fail in (stand_in.app.stop, stand_in.other.stop):
        fail()
    for _ in range(3):
        stale = stand_in.cdn.get(URL)
        assert (stale.status_code, stale.content, stale.headers["x-packshot-cache"]) == (200, b"old", "stale")
    for start in (stand_in.app.start, stand_in.other.start):
        start()
    both(stand_in, lambda _: Answer(b"busy", 503, {"Cache-Control": "no-store", "Retry-After": "2"}))
    assert stand_in.cdn.get(URL).content == b"old"
    # A client that has no copy is requested credentials; other clients still get their copies.
    cold = stand_in.cdn.get(URL, Accept="image/avif")
    assert (cold.status_code, cold.content, cold.headers["retry-after"]) == (503, b"busy", "2")
    assert stand_in.cdn.get(URL, Accept="image/webp").content == b"old"
    both(stand_in, lambda _: picture(b"new", "all", Vary="Accept"))
    assert stand_in.cdn.get(URL).content == b"new"
    assert stand_in.cdn.get(URL).headers["x-packshot-cache"] == "hit"


def test_after_a_hard_purge_no_stale_image_is_shown_even_in_an_outage(stand_in: StandIn) -> None:
    stand_in.cdn.get(URL)
    stand_in.cdn.purge("all")
    stand_in.app.stop()
    stand_in.other.stop()
    answer = stand_in.cdn.get(URL)
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert (answer.json()["status"], answer.headers["cache-control"]) == (503, "no-store")


def test_an_expired_copy_is_fetched_again_and_shown_while_that_fails(stand_in: StandIn) -> None:
    # Not the refusal that another test caused a moment ago.
    url = f"{URL}?width=60"
    short = "public, max-age=1, s-maxage=1, stale-while-revalidate=60, stale-if-error=60"
    both(stand_in, lambda _: picture(b"old", "all", Cache_Control=short))
    stand_in.cdn.get(url)
    both(stand_in, lambda _: Answer(b"", 500))
    wait_for(lambda: stand_in.cdn.get(url).headers["x-packshot-cache"] == "stale")
    assert stand_in.cdn.get(url).content == b"old"
    both(stand_in, lambda _: picture(b"new", "all"))
    assert stand_in.cdn.get(url).content == b"new"


def test_one_application_is_enough(stand_in: StandIn) -> None:
    stand_in.app.stop()
    answers = [stand_in.cdn.get(f"{URL}?width={width}") for width in range(1, 9)]
    answers += [stand_in.cdn.get(f"{URL}?width={width}&explain=1") for width in range(1, 9)]
    assert {answer.status_code for answer in answers} == {200}
    assert stand_in.app.seen == []


def test_concurrent_requests_for_one_image_are_one_request_to_the_application(stand_in: StandIn) -> None:
    def slowly(_: OriginRequest) -> Answer:
        time.sleep(0.3)
        return picture(b"slow", "all")

    both(stand_in, slowly)
    answers: list[bytes] = []
    crowd = [
        threading.Thread(target=lambda: answers.append(httpx.get(stand_in.cdn.base + URL).content)) for _ in range(20)
    ]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert answers == [b"slow"] * 20
    assert len(stand_in.app.seen + stand_in.other.seen) == 1


def test_an_immutable_url_comes_straight_from_the_bucket(stand_in: StandIn) -> None:
    stored = {
        "Cache-Control": "public, max-age=31536000, immutable",
        "Content-Type": "image/jpeg",
        "ETag": '"md5"',
        "X-Amz-Meta-Sha256": SHA,
        "X-Amz-Meta-Tags": "all,e:default:1",
        "x-amz-request-id": "1",
        "X-Amz-Meta-Put-At": "2026-01-01",
    }
    stand_in.bucket.answer = lambda _: Answer(b"stored", 200, stored)
    for _ in range(2):
        answer = stand_in.cdn.get(f"{KEY}?x=1")
        assert (answer.status_code, answer.content) == (200, b"stored")
    assert asked(stand_in.bucket) == [f"/variants{KEY}"]
    assert asked(stand_in.app, stand_in.other) == []
    assert stand_in.bucket.seen[0].headers["host"] == f"127.0.0.1:{stand_in.bucket.port}"
    assert answer.headers["etag"] == f'"{SHA[:32]}"'
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not [name for name in answer.headers if name.startswith("x-amz")]
    # The purge of an erasure finds it by the tags in the object's metadata.
    assert stand_in.cdn.purge("e:default:1") == 1
    assert stand_in.cdn.get(KEY).headers["x-packshot-cache"] == "miss"


def test_the_application_answers_preflights(stand_in: StandIn) -> None:
    both(stand_in, lambda _: Answer(b"", 204, {"Access-Control-Allow-Headers": "Range"}))
    for url in (KEY, URL):
        answer = stand_in.cdn.client.options(url, headers={"Access-Control-Request-Method": "GET"})
        assert (answer.status_code, answer.headers["access-control-allow-headers"]) == (204, "Range")
        assert answer.headers["x-packshot-cache"] == "pass"
    assert asked(stand_in.bucket) == []


@pytest.mark.parametrize("status", [403, 404, 500, None])
def test_the_application_serves_what_the_bucket_lacks(stand_in: StandIn, status: int | None) -> None:
    if status is None:
        stand_in.bucket.stop()
    else:
        stand_in.bucket.answer = lambda _: Answer(b"<Error/>", status)
    both(stand_in, lambda one: picture(f"{one.headers['host']} {one.url}".encode(), "all"))
    first, second = (stand_in.cdn.get(KEY, Host=f"default.{DOMAIN}") for _ in range(2))
    assert first.content == second.content == f"default.{DOMAIN} {KEY}".encode()
    assert second.headers["x-packshot-cache"] == "hit"


def test_the_redirect_of_a_replaced_image_is_not_cached(stand_in: StandIn) -> None:
    both(stand_in, lambda _: Answer(b"", 302, {"Location": f"{KEY}-new", "Cache-Control": "no-store"}))
    for turn in range(2):
        assert stand_in.cdn.get(KEY).status_code == 302
        assert len(asked(stand_in.app, stand_in.other)) == turn + 1


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_nginx_and_varnish_end_with_their_parent(stand_in: StandIn, tmp_path: Path, how: signal.Signals) -> None:
    cdn = local_cdn.LocalCdn(tmp_path / "cdn", [stand_in.app.url])
    assert cdn.get(URL).status_code == 200
    cdn.stop(how)
    for port in (cdn.port, cdn.cache_port):

        def refused(port: int = port) -> bool:
            try:
                httpx.get(f"http://127.0.0.1:{port}/", timeout=2)
            except httpx.TransportError:
                return True
            return False

        assert wait_for(refused)


def test_a_second_cdn_does_not_change_the_folder_of_a_running_one(stand_in: StandIn) -> None:
    folder = stand_in.cdn.folder
    before = (folder / "nginx.conf").read_bytes()
    environ = stand_in.cdn.environ | {"LOCAL_CDN_PORT": str(free_port()), "LOCAL_CDN_CACHE_PORT": str(free_port())}
    done = subprocess.run([str(RUN)], env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "another local-cdn runs in" in done.stderr
    assert (folder / "nginx.conf").read_bytes() == before


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("LOCAL_CDN_APPS", "https://app.example", "because Varnish cannot use TLS"),
        ("LOCAL_CDN_BUCKET", "bucket", "expected http://host:port"),
        ("LOCAL_CDN_PORT", "eighty", "'eighty' is not a port"),
        ("LOCAL_CDN_PURGERS", "everybody", "'everybody' is not an address or network"),
    ],
)
def test_an_invalid_setting_is_named(tmp_path: Path, setting: str, value: str, says: str) -> None:
    environ = os.environ | {"LOCAL_CDN_FOLDER": str(tmp_path), setting: value}
    done = subprocess.run([str(RUN)], env=environ, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert says in done.stderr
