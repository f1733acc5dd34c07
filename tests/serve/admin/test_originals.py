"""Originals by a URL that is valid for 15 minutes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2 as httpx
import pytest
from starlette.testclient import TestClient

import resolvers.originals
from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.model import Original
from packshot.originals.ingest import keep_original
from packshot.storage.s3 import S3Store
from resolvers.originals import sign_original
from tests.serve.admin.test_edges import ask
from tests.servers.seaweed import Seaweed
from tests.support.pictures import jpeg, photo, png
from tests.support.playground import Playground

URL = 'query Url($id: ID!) { pack(by: {id: $id}) { location(name: "main") { original { url sha256 } } } }'


def address(client: TestClient, pack_id: str) -> str:
    found: str = ask(client, URL, {"id": pack_id})["pack"]["location"]["original"]["url"]
    return found


@pytest.mark.parametrize(("data", "media_type"), [(jpeg(photo(60, 40)), "image/jpeg"), (png(photo(9, 9)), "image/png")])
def test_an_original_is_sent_unchanged_and_not_cached(
    client: TestClient, playground: Playground, data: bytes, media_type: str
) -> None:
    url = address(client, playground.pack(picture=data))
    answer = client.get(url)
    assert answer.status_code == 200
    assert answer.content == data
    assert answer.headers["content-type"] == media_type
    assert answer.headers["content-disposition"] == "inline"
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    expires = int(parse_qs(urlsplit(url).query)["expires"][0])
    assert 0 < expires - datetime.now(UTC).timestamp() <= 15 * 60


@pytest.mark.parametrize(
    ("old", "new"),
    [("signature=", "signature=0"), ("expires=", "expires=9"), ("/default/", "/other/")],
)
def test_a_url_with_a_wrong_signature_is_refused(
    client: TestClient, playground: Playground, old: str, new: str
) -> None:
    url = address(client, playground.pack())
    answer = client.get(url.replace(old, new))
    assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
    assert answer.headers["cache-control"] == "no-store"


def test_an_address_expires(client: TestClient, playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolvers.originals, "LIFETIME", timedelta(seconds=-1))
    answer = client.get(address(client, playground.pack()))
    assert (answer.status_code, answer.json()["parameter"]) == (403, "expires")


def test_another_tenants_original_is_not_found(client: TestClient, playground: Playground) -> None:
    pack_id = playground.pack()
    original = playground.snapshot(pack_id).pack_locations["main"].original
    assert original is not None
    with playground.site.catalog.write("other") as tx:
        ensure_tenant(tx)
    others = client.get(sign_original(replace(playground.caller, tenant="other"), original))
    absent = client.get(sign_original(playground.caller, replace(original, sha256="0" * 64)))
    assert others.status_code == absent.status_code == 404
    assert others.json() | {"got": None} == absent.json() | {"got": None}


def test_a_store_of_its_own_gives_the_original_itself(
    playground: Playground, s3: Seaweed, bucket: str, tmp_path: Path
) -> None:
    originals = S3Store(bucket, prefix="signed/", scratch=tmp_path, endpoint_url=s3.endpoint_url)
    site = replace(playground.site, originals=originals)
    data = jpeg(photo(50, 20))
    original = _kept(site, tmp_path, data)
    url = sign_original(replace(playground.caller, site=site), original)
    assert url.startswith(f"{s3.endpoint_url}/{bucket}/signed/default/{original.sha256}?")
    answer = httpx.get(url)
    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-disposition"] == "inline"
    assert answer.headers["cache-control"] == "private, no-store"
    assert httpx.get(url.replace(original.sha256, "0" * 64)).status_code == 403


def test_a_second_upload_repairs_a_damaged_original(playground: Playground, tmp_path: Path) -> None:
    data = jpeg(photo(50, 20))
    original = _kept(playground.site, tmp_path, data)
    key = f"default/{original.sha256}"
    body = playground.site.originals.local_path(key)
    assert body is not None
    for damaged in (data[:-9] + bytes(9), data[:100]):
        body.write_bytes(damaged)
        assert _kept(playground.site, tmp_path, data) == original
        assert playground.site.originals.get(key)[0] == data


def _kept(site: Any, folder: Path, data: bytes) -> Original:
    path = folder / "picture"
    path.write_bytes(data)
    return keep_original(site, "default", path, sha256=sha256(data).hexdigest(), size=len(data))
