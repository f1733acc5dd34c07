"""Which originals live resize serves, and what it removes from them."""

from hashlib import sha256
from io import BytesIO

import pytest
import sqlalchemy as sa
from PIL import Image
from starlette.testclient import TestClient

from packshot.catalog.tables.artwork import packs as pack_rows
from packshot.geometry import Crop
from packshot.render.processes.pool import QueueTimeout
from resolvers import access_keys, packs, tenants
from resolvers.migration import iaas
from resolvers.migration.report import Report
from resolvers.originals import Source, set_original
from tests.serve.live.conftest import Opening
from tests.support.pictures import animated, cutout, exif, jpeg, noise, photo, png, turned
from tests.support.playground import TENANT, Playground

GPS = 0x8825
HOLIDAY = jpeg(turned(photo(60, 40), 6), exif=exif(6))


def send(client: TestClient, image_id: str, data: bytes) -> None:
    """Upload an image like a client of live resize."""
    token = client.post("/live/token", json={"id": image_id}).json()["token"]
    answer = client.post(f"/live/{image_id}", files={"image": data}, headers={"X-Token": token})
    assert answer.status_code == 200, answer.text


def has_place(data: bytes) -> bool:
    return bool(Image.open(BytesIO(data)).getexif().get_ifd(GPS))


def test_an_uploaded_original_is_served_without_its_gps_position(client: TestClient) -> None:
    assert has_place(HOLIDAY)
    send(client, "holiday", HOLIDAY)
    answer = client.get("/live/holiday.jpg?blur=true&fit=crop")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert not has_place(answer.content)
    assert b"secret" not in answer.content
    given, kept = Image.open(BytesIO(answer.content)), Image.open(BytesIO(HOLIDAY))
    assert (given.tobytes(), given.getexif()[274]) == (kept.tobytes(), 6), (
        "not encoded again, with the same orientation"
    )
    assert answer.headers["cache-control"].startswith("public, max-age=60,")
    assert answer.headers["last-modified"]


def test_originals_of_other_formats_keep_their_media_type(client: TestClient) -> None:
    for name, data, kind in (
        ("png", png(cutout(30, 30), exif=exif()), "image/png"),
        ("gif", animated("GIF", comment=b"secret"), "image/gif"),
    ):
        send(client, f"own-{name}", data)
        answer = client.get(f"/live/own-{name}.jpg")
        assert answer.headers["content-type"] == kind
        assert b"secret" not in answer.content
        assert Image.open(BytesIO(answer.content)).n_frames == Image.open(BytesIO(data)).n_frames  # type: ignore[attr-defined]


@pytest.mark.parametrize("segment", [b"\xff\xe1\0\0", b"\xff\xed\0\1", b"\xff\xfe\0\0"])
def test_a_jpeg_with_a_segment_of_length_0_is_accepted_and_served(client: TestClient, segment: bytes) -> None:
    data = HOLIDAY[:2] + segment + HOLIDAY[2:-2] + segment + HOLIDAY[-2:]
    send(client, "short", data)
    answer = client.get("/live/short.jpg")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert b"secret" not in answer.content
    assert Image.open(BytesIO(answer.content)).tobytes() == Image.open(BytesIO(HOLIDAY)).tobytes()


def test_length_ranges_and_etag_are_those_of_the_stripped_original(client: TestClient) -> None:
    send(client, "large", data := jpeg(noise(900, 700), exif=exif()))
    assert len(data) > 1 << 20, "more than one chunk must be read"
    whole = client.get("/live/large.jpg")
    content, tag = whole.content, whole.headers["etag"]
    assert len(content) == int(whole.headers["content-length"]) < len(data)
    head = client.head("/live/large.jpg")
    assert (head.headers["content-length"], head.headers["etag"], head.content) == (str(len(content)), tag, b"")
    assert client.get("/live/large.jpg", headers={"If-None-Match": tag}).status_code == 304
    for span, wanted in (
        ("bytes=0-9", content[:10]),
        ("bytes=30-2000", content[30:2001]),
        ("bytes=1048000-1049000", content[1_048_000:1_049_001]),
        ("bytes=-7", content[-7:]),
    ):
        part = client.get("/live/large.jpg", headers={"Range": span, "If-Range": tag})
        assert (part.status_code, part.content) == (206, wanted), span
        assert part.headers["content-range"].endswith(f"/{len(content)}")
    beyond = client.get("/live/large.jpg", headers={"Range": f"bytes={len(content)}-"})
    assert beyond.status_code == 416, "the removed bytes are not in the response"


def test_verbatim_originals_have_the_uploaded_bytes_and_another_etag(client: TestClient, opening: Opening) -> None:
    send(client, "holiday", HOLIDAY)
    stripped = client.get("/live/holiday.jpg")
    verbatim = opening(live_originals="verbatim").get("/live/holiday.jpg")
    assert sha256(verbatim.content).digest() == sha256(HOLIDAY).digest()
    assert verbatim.headers["etag"] != stripped.headers["etag"]
    again = client.get("/live/holiday.jpg", headers={"If-None-Match": verbatim.headers["etag"]})
    assert (again.status_code, again.content) == (200, stripped.content), "another version in a cache is not confirmed"


def test_credits_stay_if_the_tenant_keeps_them(client: TestClient, playground: Playground) -> None:
    data = Image.Exif()
    data.update({315: "Ann", 33432: "Picture Desk", 271: "secret camera"})
    send(client, "signed", jpeg(photo(40, 30), exif=data.tobytes()))
    without = client.get("/live/signed.jpg")
    assert not dict(Image.open(BytesIO(without.content)).getexif())
    tenants.update_tenant(playground.caller, {"keep_credits": True}, force=True)
    playground.run_jobs()
    credited = client.get("/live/signed.jpg", headers={"If-None-Match": without.headers["etag"]})
    assert credited.status_code == 200
    assert dict(Image.open(BytesIO(credited.content)).getexif()) == {315: "Ann", 33432: "Picture Desk"}


def test_only_originals_from_live_resize_are_served(
    client: TestClient, playground: Playground, opening: Opening
) -> None:
    pack_id = playground.pack(picture=HOLIDAY, external_id="contract")
    packs.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 0.5, 0.5))
    answer = client.get("/live/contract.jpg")
    assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    assert client.head("/live/contract.jpg").status_code == 404
    assert client.get("/live/contract_20_20.jpg").status_code == 200
    everything = opening(live_originals_scope="all").get("/live/contract.jpg")
    assert (everything.status_code, has_place(everything.content)) == (200, False)


def test_an_editors_replacement_original_is_not_served(client: TestClient, playground: Playground) -> None:
    send(client, "holiday", HOLIDAY)
    with playground.site.catalog.read(TENANT) as tx:
        holiday = sa.select(pack_rows.c.id).where(pack_rows.c.external_id == "holiday")
        pack_id = tx.connection.execute(holiday).scalar_one()
    upload = playground.upload(jpeg(photo(50, 50)))
    set_original(playground.caller, pack_id, "main", Source(upload_id=upload))
    assert client.get("/live/holiday.jpg").status_code == 404
    set_original(playground.caller, pack_id, "main", Source(upload_id=playground.upload(HOLIDAY)))
    assert client.get("/live/holiday.jpg").status_code == 200, "this original was served before"


def test_migrated_originals_are_served_even_if_they_were_known_before(
    client: TestClient, playground: Playground
) -> None:
    folder = playground.settings.data / "old"
    folder.mkdir()
    (folder / "moved.jpg").write_bytes(HOLIDAY)
    (folder / "known.jpg").write_bytes(jpeg(photo(70, 50), exif=exif()))
    playground.pack(picture=(folder / "known.jpg").read_bytes(), external_id="known")
    assert client.get("/live/known.jpg").status_code == 404
    iaas.migrate_images(playground.caller, folder, iaas.Options(dry_run=True), Report(), seen=lambda *_: None)
    assert client.get("/live/known.jpg").status_code == 404, "a dry run changes nothing"
    iaas.migrate_images(playground.caller, folder, iaas.Options(), Report(), seen=lambda *_: None)
    for name in ("moved", "known"):
        answer = client.get(f"/live/{name}.jpg")
        assert (answer.status_code, has_place(answer.content)) == (200, False), name


def test_originals_can_be_switched_off(client: TestClient, opening: Opening) -> None:
    send(client, "holiday", HOLIDAY)
    closed = opening(live_originals="off")
    assert closed.get("/live/holiday.jpg").status_code == 404
    assert closed.get("/live/holiday_20_20.jpg").status_code == 200


def test_originals_need_an_access_key_if_the_tenant_requires_keys(client: TestClient, playground: Playground) -> None:
    send(client, "holiday", HOLIDAY)
    _, secret = access_keys.create_key(playground.caller, "site")
    access_keys.require_keys(playground.caller, required=True)
    playground.site.access_policy.look()
    assert client.get("/live/holiday.jpg").status_code == 403
    shown = client.get("/live/holiday.jpg", headers={"X-Packshot-Access-Key": secret})
    assert (shown.status_code, has_place(shown.content)) == (200, False)
    assert shown.headers["cache-control"] == "private, no-store"


def test_an_original_gets_503_while_the_renderer_is_busy(
    client: TestClient, playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(client, "holiday", HOLIDAY)

    def busy(*_: object, **__: object) -> None:
        raise QueueTimeout

    monkeypatch.setattr(type(playground.site.renderer), "strip", busy)
    answer = client.get("/live/holiday.jpg")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "4")
