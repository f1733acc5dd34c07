"""Uploads: one attempt per token, fifteen minutes, and only images become originals."""

from datetime import timedelta
from hashlib import sha256

import pytest
import sqlalchemy as sa

from packshot.catalog.clients import uploads as rows
from packshot.catalog.tables.clients import uploads as upload_table
from packshot.errors import (
    BadState,
    ChecksumMismatch,
    Invalid,
    NotFound,
    PackshotError,
    TooLarge,
    Unrenderable,
    UnsupportedMedia,
    UploadExpired,
)
from packshot.geometry import Crop
from packshot.render.limits import Limits
from resolvers import originals, packs, uploads
from resolvers.originals import Source
from tests.support.pictures import jpeg, photo, png
from tests.support.playground import TENANT, Playground


def test_a_token_is_good_for_one_attempt(playground: Playground) -> None:
    upload, token = uploads.create_upload(playground.caller, media_type="image/png", size=10, sha256=None)
    uploads.begin_upload(playground.site, TENANT, upload.id, token)
    with pytest.raises(BadState):
        uploads.begin_upload(playground.site, TENANT, upload.id, token)


def test_a_wrong_token_is_like_no_upload_at_all(playground: Playground) -> None:
    upload, token = uploads.create_upload(playground.caller, media_type="image/png", size=10, sha256=None)
    with pytest.raises(NotFound) as wrong:
        uploads.begin_upload(playground.site, TENANT, upload.id, "guess")
    with pytest.raises(NotFound) as missing:
        uploads.begin_upload(playground.site, TENANT, "0" * 24, token)
    assert wrong.value.message == missing.value.message
    uploads.begin_upload(playground.site, TENANT, upload.id, token)


def test_an_upload_expires(playground: Playground) -> None:
    upload, token = uploads.create_upload(playground.caller, media_type="image/png", size=10, sha256=None)
    _age(playground)
    with pytest.raises(UploadExpired):
        uploads.begin_upload(playground.site, TENANT, upload.id, token)


def _age(playground: Playground) -> None:
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.execute(sa.update(upload_table).values(expires_at=tx.now - timedelta(hours=2)))


def test_expired_uploads_and_their_bytes_are_swept(playground: Playground) -> None:
    upload_id = playground.upload(jpeg(photo(8, 8)))
    _age(playground)
    playground.dispatcher.step()
    assert list(playground.site.uploads.list("")) == []
    with playground.site.catalog.read(TENANT) as tx, pytest.raises(NotFound):
        rows.get_upload(tx, upload_id)


def test_the_token_itself_is_not_kept(playground: Playground) -> None:
    _, token = uploads.create_upload(playground.caller, media_type="image/png", size=10, sha256=None)
    with playground.site.catalog.read(TENANT) as tx:
        (row,) = tx.connection.execute(sa.select(upload_table)).all()
    assert token not in map(str, row)
    assert row.token_sha256 == sha256(token.encode()).hexdigest()


@pytest.mark.parametrize(
    ("media_type", "size", "digest", "error", "field"),
    [
        ("text/html", 10, None, Invalid, "media_type"),
        ("image", 10, None, Invalid, "media_type"),
        ("image/" + "x" * 122, 10, None, Invalid, "media_type"),
        ("image/png", 0, None, Invalid, "bytes"),
        ("image/png", -1, None, Invalid, "bytes"),
        ("image/png", 64 * 2**20 + 1, None, TooLarge, "bytes"),
        ("image/png", 10, "abc", Invalid, "sha256"),
    ],
)
def test_an_announcement_that_does_not_fit_is_refused(
    playground: Playground, media_type: str, size: int, digest: str | None, error: type[PackshotError], field: str
) -> None:
    with pytest.raises(error) as refusal:
        uploads.create_upload(playground.caller, media_type=media_type, size=size, sha256=digest)
    assert refusal.value.field == (field,)
    assert refusal.value.expected


def test_other_bytes_than_announced_are_refused(playground: Playground) -> None:
    data = jpeg(photo(8, 8))
    with pytest.raises(ChecksumMismatch) as refusal:
        playground.upload(data, sha256="0" * 64)
    assert refusal.value.got == sha256(data).hexdigest()


def _many_pixels() -> bytes:
    return png(photo(10, 10).resize((9000, 9000)))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"no picture at all", UnsupportedMedia),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", UnsupportedMedia),
        (jpeg(photo(200, 200))[:-2000], Unrenderable),
        (png(photo(200, 200))[:-2000], Unrenderable),
    ],
)
def test_a_picture_that_cannot_be_rendered_is_refused_before_it_is_the_packs(
    playground: Playground, data: bytes, error: type[PackshotError]
) -> None:
    pack_id = packs.create_pack(playground.caller, {}).pack.id
    before = playground.snapshot(pack_id)
    upload_id = playground.upload(data)
    with pytest.raises(error) as refusal:
        originals.set_original(playground.caller, pack_id, "main", Source(upload_id=upload_id))
    assert refusal.value.field[:2] == ("source", "upload_id")
    assert playground.snapshot(pack_id) == before
    assert list(playground.site.originals.list("")) == []


def test_a_picture_of_too_many_pixels_is_refused(playground: Playground) -> None:
    assert Limits().max_pixels == 80_000_000
    pack_id = packs.create_pack(playground.caller, {}).pack.id
    upload_id = playground.upload(_many_pixels())
    with pytest.raises(TooLarge) as refusal:
        originals.set_original(playground.caller, pack_id, "main", Source(upload_id=upload_id))
    assert "80" in (refusal.value.expected or "")


def test_bytes_that_were_not_received_make_no_original(playground: Playground) -> None:
    pack_id = packs.create_pack(playground.caller, {}).pack.id
    upload, _ = uploads.create_upload(playground.caller, media_type="image/png", size=10, sha256=None)
    with pytest.raises(BadState) as refusal:
        originals.set_original(playground.caller, pack_id, "main", Source(upload_id=upload.id))
    assert refusal.value.field == ("source", "upload_id")


@pytest.mark.parametrize(("pack", "location"), [("f" * 24, "main"), (None, "nowhere")])
def test_an_unknown_pack_or_location_takes_no_original(playground: Playground, pack: str | None, location: str) -> None:
    pack_id = pack or packs.create_pack(playground.caller, {}).pack.id
    upload_id = playground.upload(jpeg(photo(8, 8)))
    with pytest.raises(NotFound):
        originals.set_original(playground.caller, pack_id, location, Source(upload_id=upload_id))


def test_one_upload_serves_two_locations_and_is_stored_once(playground: Playground) -> None:
    playground.location("thumb", width=8)
    pack_id = packs.create_pack(playground.caller, {}).pack.id
    upload_id = playground.upload(jpeg(photo(64, 64)))
    for location in ("main", "thumb"):
        originals.set_original(playground.caller, pack_id, location, Source(upload_id=upload_id))
    snapshot = playground.snapshot(pack_id)
    assert snapshot.pack_location("main").original == snapshot.pack_location("thumb").original
    assert len(list(playground.site.originals.list(""))) == 1


def test_a_new_original_keeps_crop_and_moves_the_key(playground: Playground) -> None:
    pack_id = playground.pack(picture=photo(300, 200))
    packs.set_crop(playground.caller, pack_id, "main", Crop(0, 0, 0.5, 0.5))
    before = playground.target(pack_id, "")
    playground.show(pack_id, "main", photo(300, 200, seed=2))
    after = playground.target(pack_id, "")
    assert playground.snapshot(pack_id).pack_location("main").crop == Crop(0, 0, 0.5, 0.5)
    assert after.key != before.key
