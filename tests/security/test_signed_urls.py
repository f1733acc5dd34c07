"""Changed signed URLs: none opens an image unless it means what was signed."""

import random
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.requests import Request

from packshot.errors import PackshotError
from packshot.security.access_policy import TenantAccess, sign
from packshot.settings.settings import Settings
from packshot.variants.request import split_query
from resolvers.urls.parse import Address, read_address
from serve.image.guard import check

MUTATIONS = 10_000
PACK = "0123456789abcdef01234567"
KEY = f"default/{PACK}/thumb/{'ab' * 12}/w320-h180-crop-center-q80.jpg"
SECRETS = ("psk_the-older-of-two-keys", "psk_the-newer-of-two-keys")
# URLs of each kind, and the signed form of each.
SIGNED = {
    f"/api/v2/img/{PACK}?location=thumb&width=320&dpr=1.5": (f"/api/v2/img/{PACK}", "location=thumb&width=320&dpr=1.5"),
    f"/api/v2/img/default/{PACK}-17?resize-mode=includeAll&format=webp": (
        f"/api/v2/img/{PACK}",
        "resize-mode=includeAll&format=webp",
    ),
    f"/api/v2/img/{PACK}/picture.json?widths=320,640": (f"/api/v2/img/{PACK}/picture.json", "widths=320,640"),
    f"/i/{KEY}": (f"/i/{KEY}", ""),
}
LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ%&=?/-.,_+#;: \x00é"
SETTINGS = Settings(tenant_domain="images.example")
DOOR = TenantAccess(True, True, False, frozenset(), SECRETS)


def opened(url: str, host: str = "testserver") -> Address | None:
    """Return what the URL opens, by the same check as for a request; None: nothing."""
    path, _, query = url.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode("utf-8", "replace"),
        "headers": [(b"host", host.encode())],
    }
    request = Request(scope)
    try:
        address = read_address(SETTINGS, host, path, scope["query_string"].decode("latin-1"))
        check(DOOR, request, address)
    except PackshotError:
        return None
    return address


def mutated(url: str, chance: random.Random) -> str:
    """Return the URL with a few changes, some of which mean nothing."""
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        url = url or "/"
        at = chance.randrange(len(url))
        path, _, query = url.partition("?")
        pairs = query.split("&")
        match chance.randrange(12):
            case 0:
                url = url[:at] + chance.choice(LETTERS) + url[at + 1 :]
            case 1:
                url = url[:at] + chance.choice(LETTERS) + url[at:]
            case 2:
                url = url[:at] + url[at + 1 :]
            case 3:
                url = url[:at] + url[at].swapcase() + url[at + 1 :]
            case 4:
                url = f"{url[:at]}%{ord(url[at]) & 255:02X}{url[at + 1 :]}"
            case 5:
                chance.shuffle(pairs)
                url = f"{path}?{'&'.join(pairs)}"
            case 6:
                url = f"{path}?{'&'.join([*pairs, chance.choice(pairs)])}"
            case 7:
                url = f"{path}?{'&'.join(pair for pair in pairs if pair is not pairs[-1])}"
            case 8:
                more = (
                    "x=1",
                    "width=1",
                    "expires=9999999999",
                    "signature=00",
                    "location=main",
                    "explain=1",
                    "widths=9",
                )
                url = f"{path}?{'&'.join(chance.sample([*pairs, chance.choice(more)], len(pairs) + 1))}"
            case 9:
                url = url.replace("expires=", f"expires={chance.randrange(10)}", 1)
            case 10:
                url = url[: max(1, at)]
            case 11:
                url = url.replace(PACK, chance.choice((PACK[::-1], f"{PACK}-9", PACK[:-1], f"films/{PACK}")), 1)
    return url


@pytest.mark.parametrize("url", SIGNED)
def test_no_mutated_url_opens_anything_but_what_was_signed(url: str) -> None:
    chance = random.Random(url)  # noqa: S311 - to be repeated, not to be secret
    path, form = SIGNED[url]
    expires, more = int(time.time()) + 3600, "&" if "?" in url else "?"
    signed = url + more + sign(chance.choice(SECRETS), "default", path, form, expires)
    given = split_query(urlsplit(signed).query)
    first = opened(signed)
    assert first is not None
    assert (first.tenant, first.path, first.query) == ("default", path, form)
    accepted = refused = 0
    for _ in range(MUTATIONS // len(SIGNED)):
        tried = mutated(signed, chance)
        found = opened(tried)
        if found is None:
            refused += 1
            continue
        accepted += 1
        assert (found.tenant, found.path, found.query) == ("default", path, form), tried
        parameters = split_query(tried.partition("?")[2])
        assert [parameters[name] for name in ("expires", "signature")] == [given["expires"], given["signature"]], tried
    # Both happen, so the mutations and the check are not trivial.
    assert accepted > 100
    assert refused > 1000


@pytest.mark.parametrize("url", SIGNED)
def test_every_single_changed_character_of_what_was_signed_counts(url: str) -> None:
    path, form = SIGNED[url]
    expires = int(time.time()) + 3600
    for tenant, where, what, until in (
        ("films", path, form, expires),
        ("default", path[:-1], form, expires),
        ("default", path, f"{form}&width=1", expires),
        ("default", path, form, expires + 1),
        ("default\n", path, form, expires),
        ("default", f"{path}\n", form, expires),
    ):
        more = "&" if "?" in url else "?"
        _, _, signature = sign(SECRETS[0], tenant, where, what, until).partition("&")
        assert opened(f"{url}{more}expires={expires}&{signature}") is None
    good = sign(SECRETS[0], "default", path, form, expires).rpartition("=")[2]
    for number, digit in enumerate(good):
        other = "0" if digit != "0" else "1"
        wrong = good[:number] + other + good[number + 1 :]
        assert opened(f"{url}{'&' if '?' in url else '?'}expires={expires}&signature={wrong}") is None
    for spelled in (good.upper(), f"{good} ", f"0x{good}", good[:-1], f"{good}0", ""):
        assert opened(f"{url}{'&' if '?' in url else '?'}expires={expires}&signature={spelled}") is None


MOMENTS = ["", "0", "-1", "+99999999999", "1e12", " 99999999999", "099999999999", "1_000_000_000", "\u0669" * 11]


@pytest.mark.parametrize("expires", MOMENTS)
def test_a_moment_is_spelled_in_one_way(expires: str) -> None:
    signature = sign(SECRETS[0], "default", f"/api/v2/img/{PACK}", "", expires).rpartition("=")[2]  # type: ignore[arg-type]
    assert opened(f"/api/v2/img/{PACK}?expires={expires}&signature={signature}") is None


def test_a_host_of_another_tenant_opens_nothing() -> None:
    expires = int(time.time()) + 3600
    signed = f"/api/v2/img/{PACK}?{sign(SECRETS[0], 'default', f'/api/v2/img/{PACK}', '', expires)}"
    assert opened(signed, "default.images.example") is not None
    assert opened(signed, "films.images.example") is None
