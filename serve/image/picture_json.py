"""`picture.json` beside every stable URL: the JSON of GraphQL's `picture`, for pages without a token."""

from dataclasses import dataclass
from hashlib import sha256

import anyio
import anyio.to_thread
import orjson
from starlette.requests import Request
from starlette.responses import Response

from packshot.catalog.variants import ledger
from packshot.catalog.variants.ledger import VariantState
from packshot.site import Site
from packshot.variants.picture_request import PictureForm
from packshot.variants.resolve import asked_location, nothing_to_show, source_of
from packshot.variants.tags import purge_tags
from resolvers.pictures import Picture, PictureSource, RequestedSource, assemble, lay_out_location
from resolvers.urls.build import PICTURE, Urls
from resolvers.urls.parse import Address
from serve.image.caching import COMMON, keep_stable
from serve.image.erased import read_shown
from serve.image.guard import AccessGuard
from serve.image.public_routes import public_route

# For a picture whose variants are not all stored; no purge follows when they are.
PENDING = "public, max-age=2"
THREADS = 8


@dataclass(frozen=True, slots=True)
class ShownPicture:
    """A picture element and its purge tags."""

    picture: Picture
    tags: tuple[str, ...]


class Pictures:
    """The public endpoint that returns everything a page needs for one picture element."""

    def __init__(self, site: Site, access_guard: AccessGuard) -> None:
        self._site = site
        self._threads = anyio.CapacityLimiter(THREADS)
        send = access_guard.protect(self.send)
        self.routes = [
            public_route(f"/api/v2/img/{{pack}}/{PICTURE}", send),
            public_route(f"/api/v2/img/{{tenant}}/{{pack}}/{PICTURE}", send),
        ]

    async def send(self, request: Request, address: Address, urls: Urls) -> Response:
        """Answer with the picture element as JSON, with the field names of GraphQL."""
        shown = await anyio.to_thread.run_sync(self._read, address, urls, limiter=self._threads)
        body = orjson.dumps(document(shown.picture))
        etag = f'"{sha256(body).hexdigest()[:32]}"'
        ready = shown.picture.state is VariantState.READY
        headers = COMMON | {"ETag": etag} | keep_stable(self._site, shown.tags)
        if not ready:
            headers["Cache-Control"] = PENDING
        if is_known(request, etag):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type="application/json")

    def _read(self, address: Address, urls: Urls) -> ShownPicture:
        form = address.form
        assert isinstance(form, PictureForm)
        with self._site.catalog.read(address.tenant) as tx:
            snapshot = read_shown(tx, address.pack_id)
            location, _ = asked_location(snapshot, form.location)
            wanted = RequestedSource(location=location, widths=form.widths, formats=form.formats, sizes=form.sizes)
            layout = lay_out_location(snapshot, wanted, limit=self._site.limit, opened=address.opened)
            if layout is None:
                raise nothing_to_show(location)
            entries = ledger.read_entries(tx, layout.keys)
        picture = assemble(layout, entries, urls)
        _, consulted = source_of(snapshot, location)
        return ShownPicture(picture, purge_tags(address.tenant, address.pack_id, consulted))


def is_known(request: Request, etag: str) -> bool:
    """Whether the client's copy has this entity tag (RFC 9110, section 13.1.2)."""
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")]
    return etag in known or "*" in known


def document(picture: Picture) -> dict[str, object]:
    """Return a picture as a JSON document."""
    return {
        "src": picture.src,
        "width": picture.width,
        "height": picture.height,
        "sources": [_source(source) for source in picture.sources],
        "thumbhash": picture.thumbhash,
        "dominantColor": picture.dominant_color,
        "state": picture.state.name,
    }


def _source(source: PictureSource) -> dict[str, object]:
    return {
        "mediaType": source.media_type,
        "media": source.media,
        "sizes": source.sizes,
        "srcset": source.srcset,
        "width": source.width,
        "height": source.height,
    }
