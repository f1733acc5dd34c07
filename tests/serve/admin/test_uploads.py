"""Uploads as clients send them: as a form or raw, to the application or to the store."""

import secrets
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import httpx2 as httpx
import pytest
from starlette.testclient import TestClient

from packshot.catalog.clients.uploads import Upload, UploadMethod
from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.errors import BadState, ChecksumMismatch, PackshotError, TooLarge, Unrenderable, UnsupportedMedia
from packshot.settings.settings import Settings
from packshot.storage.base import Ticket
from packshot.storage.s3 import S3Store
from pregen.services.dispatcher import Dispatcher
from resolvers import originals, packs, uploads
from resolvers.originals import Source
from tests.serve.admin.test_edges import ask, kept
from tests.servers.seaweed import Seaweed
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground

CREATE = """mutation Create($input: UploadInput!) {
  createUpload(input: $input) {
    upload { id url method fields { name value } headers { name value } maxBytes } userErrors { code }
  }
}"""
PICTURE = jpeg(photo(64, 64))


def announce(client: TestClient, **values: Any) -> tuple[str, Ticket]:
    """Announce an upload; return its id and its instructions."""
    values = {"mediaType": "image/jpeg", "bytes": len(PICTURE)} | values
    upload = ask(client, CREATE, {"input": values})["createUpload"]["upload"]
    named = ({item["name"]: item["value"] for item in upload[part]} for part in ("fields", "headers"))
    return upload["id"], Ticket(upload["url"], upload["method"], *named)


def send(client: Any, ticket: Ticket, data: bytes) -> Any:
    """Send an upload by the method that its instructions name."""
    if ticket.fields:
        return client.request(ticket.method, ticket.url, data=dict(ticket.fields), files={"file": ("a.jpg", data)})
    return client.request(ticket.method, ticket.url, content=data, headers=dict(ticket.headers))


@pytest.mark.parametrize("method", ["PRESIGNED_POST", "PRESIGNED_PUT", "ONE_TIME_TOKEN"])
def test_without_a_store_of_its_own_the_application_takes_every_kind(
    client: TestClient, playground: Playground, method: str
) -> None:
    pack_id = packs.create_pack(playground.caller, {}).pack.id
    upload_id, ticket = announce(client, method=method, sha256=sha256(PICTURE).hexdigest())
    assert bool(ticket.fields) == (method == "PRESIGNED_POST")
    answer = send(client, ticket, PICTURE)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"id": upload_id, "bytes": len(PICTURE), "sha256": sha256(PICTURE).hexdigest()}
    assert send(client, ticket, PICTURE).status_code == 409, "one attempt"
    originals.set_original(playground.caller, pack_id, "main", Source(upload_id=upload_id))
    assert list(playground.site.incoming.iterdir()) == []


@pytest.mark.parametrize(
    "media_type",
    [
        "",
        " ",
        "application/octet-stream",
        "Application/Octet-Stream",
        "binary/octet-stream",
        "application/octet-stream; charset=binary",
        "*/*",
        "image/heic",
        "IMAGE/PNG",
        "image/png; charset=binary",
        "image/jpeg ;",
    ],
)
def test_a_picture_whose_type_the_client_does_not_know_is_read_from_its_bytes(
    client: TestClient, playground: Playground, media_type: str
) -> None:
    pack_id = packs.create_pack(playground.caller, {}).pack.id
    for method in ("PRESIGNED_POST", "ONE_TIME_TOKEN"):
        upload_id, ticket = announce(client, method=method, mediaType=media_type)
        assert send(client, ticket, PICTURE).status_code == 200
        originals.set_original(playground.caller, pack_id, "main", Source(upload_id=upload_id))
    shown = ask(
        client, f'{{ pack(by: {{id: "{pack_id}"}}) {{ location(name: "main") {{ original {{ mediaType }} }} }} }}'
    )
    assert shown["pack"]["location"]["original"] == {"mediaType": "image/jpeg"}


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/pdf", "octet-stream", "image", "image/", "image/a b", "text/plain; image/png"],
)
def test_an_upload_of_another_type_is_not_announced(client: TestClient, media_type: str) -> None:
    payload = ask(client, CREATE, {"input": {"mediaType": media_type, "bytes": 10}})["createUpload"]
    assert [error["code"] for error in payload["userErrors"]] == ["INVALID"]


def test_a_form_has_no_more_than_was_announced_and_is_cut_off_there(client: TestClient, playground: Playground) -> None:
    _, ticket = announce(client, bytes=1000)
    answer = send(client, ticket, b"x" * 1001)
    assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")
    assert kept(playground) == []
    assert send(client, ticket, b"x" * 1000).status_code == 409


@pytest.mark.parametrize("token", ["", "guess"])
def test_a_form_with_a_wrong_token_takes_nothing(client: TestClient, playground: Playground, token: str) -> None:
    _, ticket = announce(client)
    assert send(client, replace(ticket, fields={"token": token}), PICTURE).status_code == 404
    assert kept(playground) == []
    assert send(client, ticket, PICTURE).status_code == 200


@pytest.mark.parametrize(("field", "got"), [("token", "before the file: nothing"), ("other", "before the file: other")])
def test_a_form_without_a_token_before_its_file_gets_the_order(
    client: TestClient, playground: Playground, field: str, got: str
) -> None:
    _, ticket = announce(client)
    part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n'
    file = part.format('file"; filename="a.jpg').encode() + PICTURE + b"\r\n"
    text = part.format(field).encode() + ticket.fields["token"].encode() + b"\r\n"
    body = (file + text if field == "token" else text + file) + b"--b--\r\n"
    answer = client.post(ticket.url, content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert (answer.status_code, answer.json()["code"], answer.json()["parameter"]) == (400, "INVALID", "token")
    assert (answer.json()["expected"], answer.json()["got"]) == ("the field 'token', then the part 'file'", got)
    assert kept(playground) == []
    assert send(client, ticket, PICTURE).status_code == 200, "the token was not used"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"token={token}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=b", b"no form at all"),
        (f"multipart/form-data; boundary={'b' * 300}", b"--"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"--b--\r\n"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 70_000),
        ("multipart/form-data; boundary=b", b"--b\r\nX-Long: " + b"x" * 70_000),
    ],
)
def test_a_body_that_is_no_form_is_refused(client: TestClient, playground: Playground, kind: str, body: bytes) -> None:
    _, ticket = announce(client)
    answer = client.post(ticket.url, content=body, headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID")
    assert kept(playground) == []
    assert send(client, ticket, PICTURE).status_code == 200, "the token was not seen"


def test_a_form_that_ends_within_its_file_is_refused(client: TestClient, playground: Playground) -> None:
    _, ticket = announce(client)
    body = (
        b'--b\r\nContent-Disposition: form-data; name="token"\r\n\r\n'
        + ticket.fields["token"].encode()
        + b'\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf'
    )
    answer = client.post(ticket.url, content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID")
    assert kept(playground) == []
    assert send(client, ticket, PICTURE).status_code == 409, "that was the one attempt"


def test_an_upload_belongs_to_the_tenant_that_announced_it(client: TestClient, playground: Playground) -> None:
    with playground.site.catalog.write("other") as tx:
        ensure_tenant(tx)
    other = replace(playground.caller, tenant="other", origin="http://testserver")
    upload, _ = uploads.create_upload(other, media_type="image/jpeg", size=len(PICTURE), sha256=None)
    ticket = uploads.find_ticket(other, upload)
    assert send(client, replace(ticket, url=ticket.url.replace("/other/", "/default/")), PICTURE).status_code == 404
    assert send(client, ticket, PICTURE).status_code == 200
    assert uploads.find_upload(other, upload.id).bytes == len(PICTURE)


class Bucket:
    """A playground whose uploads and originals are in a bucket."""

    def __init__(self, playground: Playground, s3: Seaweed, bucket: str, prefix: str) -> None:
        def store(name: str) -> S3Store:
            return S3Store(
                bucket, prefix=f"{prefix}/{name}", scratch=playground.site.incoming, endpoint_url=s3.endpoint_url
            )

        self.site = replace(playground.site, uploads=store("uploads"), originals=store("originals"))
        self.caller = replace(playground.caller, site=self.site)
        self.pack_id = packs.create_pack(self.caller, {}).pack.id
        self.client = httpx.Client()

    def announce(self, method: UploadMethod, *, size: int = len(PICTURE), digest: str | None = None) -> Upload:
        return uploads.create_upload(self.caller, media_type="image/jpeg", size=size, sha256=digest, method=method)[0]

    def send(self, upload: Upload, data: bytes) -> int:
        status: int = send(self.client, uploads.find_ticket(self.caller, upload), data).status_code
        return status

    def put_past(self, upload: Upload, data: bytes) -> None:
        """Put bytes as a client whose size and type the store does not check."""
        ticket = self.site.uploads.direct.sign_put(  # type: ignore[union-attr]
            uploads.upload_key(TENANT, upload.id), content_type="image/jpeg", size=len(data), seconds=60
        )
        assert send(self.client, ticket, data).status_code == 200

    def use(self, upload: Upload, location: str = "main") -> str:
        """Set the upload as the pack's original; return the original's digest."""
        snapshot, _ = originals.set_original(self.caller, self.pack_id, location, Source(upload_id=upload.id))
        original = snapshot.pack_location(location).original
        assert original is not None
        return original.sha256


@pytest.fixture
def database_url() -> None:
    """SQLite only: these tests are about requests and the store."""


@pytest.fixture
def direct(playground: Playground, s3: Seaweed, bucket: str) -> Iterator[Bucket]:
    direct = Bucket(playground, s3, bucket, f"direct/{secrets.token_hex(6)}")
    with direct.client:
        yield direct


PRESIGNED = [UploadMethod.PRESIGNED_POST, UploadMethod.PRESIGNED_PUT]


@pytest.mark.parametrize("method", PRESIGNED)
def test_a_store_of_its_own_takes_the_bytes_itself(
    direct: Bucket, playground: Playground, method: UploadMethod
) -> None:
    playground.location("thumb", width=8)
    upload = direct.announce(method, digest=sha256(PICTURE).hexdigest())
    with pytest.raises(BadState) as early:
        direct.use(upload)
    assert early.value.field == ("source", "upload_id")
    assert direct.send(upload, PICTURE) in (200, 201, 204)
    assert direct.use(upload) == direct.use(upload, "thumb") == sha256(PICTURE).hexdigest()
    with direct.site.originals.as_file(f"{TENANT}/{sha256(PICTURE).hexdigest()}") as path:
        assert path.read_bytes() == PICTURE
    assert list(direct.site.incoming.iterdir()) == []


def test_the_one_time_token_works_beside_a_bucket(direct: Bucket) -> None:
    ticket = uploads.find_ticket(direct.caller, direct.announce(UploadMethod.ONE_TIME_TOKEN))
    assert ticket.url.startswith("http://test/uploads/default/")


@pytest.mark.parametrize(
    ("data", "size", "digest", "error"),
    [
        (PICTURE, len(PICTURE) - 1, None, TooLarge),
        (PICTURE, len(PICTURE), "0" * 64, ChecksumMismatch),
        (b"<html>no picture</html>", 1000, None, UnsupportedMedia),
        (PICTURE[:-500], 10_000, None, Unrenderable),
    ],
)
def test_bytes_in_the_store_are_checked_before_they_become_an_original(
    direct: Bucket, data: bytes, size: int, digest: str | None, error: type[PackshotError]
) -> None:
    upload = direct.announce(UploadMethod.PRESIGNED_PUT, size=size, digest=digest)
    direct.put_past(upload, data)
    with pytest.raises(error) as refusal:
        direct.use(upload)
    assert refusal.value.field == ("source", "upload_id")
    assert list(direct.site.originals.list("")) == []
    assert list(direct.site.incoming.iterdir()) == []


@pytest.mark.parametrize("method", PRESIGNED)
def test_the_store_itself_refuses_more_bytes_than_announced(direct: Bucket, method: UploadMethod) -> None:
    upload = direct.announce(method)
    assert direct.send(upload, PICTURE + b"x") in (400, 403)
    assert list(direct.site.uploads.list("")) == []


@pytest.mark.parametrize("method", PRESIGNED)
def test_the_store_takes_no_other_key_and_no_other_type(direct: Bucket, method: UploadMethod) -> None:
    upload = direct.announce(method)
    ticket = uploads.find_ticket(direct.caller, upload)
    other = {"key": f"{ticket.fields.get('key')}0", "Content-Type": "text/html"}
    for name, value in other.items():
        if ticket.fields:
            changed = replace(ticket, fields=dict(ticket.fields) | {name: value})
        elif name == "key":
            changed = replace(ticket, url=ticket.url.replace(upload.id, f"{upload.id}0"))
        else:
            changed = replace(ticket, headers={name: value})
        assert send(direct.client, changed, PICTURE).status_code == 403
    assert list(direct.site.uploads.list("")) == []


def test_bytes_that_are_put_again_later_change_no_original(direct: Bucket) -> None:
    upload = direct.announce(UploadMethod.PRESIGNED_PUT)
    assert direct.send(upload, PICTURE) == 200
    digest = direct.use(upload)
    assert direct.send(upload, bytes(len(PICTURE))) == 200
    with direct.site.originals.as_file(f"{TENANT}/{digest}") as path:
        assert path.read_bytes() == PICTURE


def test_expired_bytes_in_the_store_are_swept(direct: Bucket, playground: Playground) -> None:
    upload = direct.announce(UploadMethod.PRESIGNED_PUT)
    assert direct.send(upload, PICTURE) == 200
    with playground.site.catalog.write(TENANT) as tx:
        tx.connection.exec_driver_sql("UPDATE uploads SET expires_at = '2001-01-01 00:00:00.000000'")
    Dispatcher(direct.site, playground.doorbell.ring_all, bulk_places=1).step()
    assert list(direct.site.uploads.list("")) == []


@pytest.mark.parametrize(
    ("possible", "asked", "given"),
    [
        ("presigned_post", UploadMethod.PRESIGNED_POST, UploadMethod.PRESIGNED_POST),
        ("presigned_put", UploadMethod.PRESIGNED_POST, UploadMethod.PRESIGNED_PUT),
        ("presigned_put", UploadMethod.ONE_TIME_TOKEN, UploadMethod.ONE_TIME_TOKEN),
        ("one_time_token", UploadMethod.PRESIGNED_PUT, UploadMethod.ONE_TIME_TOKEN),
    ],
)
def test_a_client_gets_a_method_that_the_store_accepts(
    direct: Bucket, possible: str, asked: UploadMethod, given: UploadMethod
) -> None:
    changed = Settings(**direct.site.settings.model_dump() | {"upload_method": possible})
    caller = replace(direct.caller, site=replace(direct.site, settings=changed))
    upload, _ = uploads.create_upload(caller, media_type="image/jpeg", size=len(PICTURE), sha256=None, method=asked)
    ticket = uploads.find_ticket(caller, upload)
    assert upload.method is given
    assert (ticket.method, bool(ticket.fields)) == {
        UploadMethod.PRESIGNED_POST: ("POST", True),
        UploadMethod.PRESIGNED_PUT: ("PUT", False),
        UploadMethod.ONE_TIME_TOKEN: ("PUT", False),
    }[given]
    if given is not UploadMethod.ONE_TIME_TOKEN:
        assert send(direct.client, ticket, PICTURE).status_code in (200, 204)
        direct.use(upload)
