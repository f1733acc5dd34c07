"""The local CDN, in front of a stand-in and in front of real applications."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.cdn import origin
from tests.cdn.origin import Origin
from tests.servers import local_cdn
from tests.servers.local_cdn import LocalCdn

DOMAIN = "img.example"


@dataclass
class StandIn:
    """A CDN in front of two simulated applications and a simulated bucket."""

    cdn: LocalCdn
    app: Origin
    other: Origin
    bucket: Origin


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    if lacking := local_cdn.missing():
        pytest.skip(lacking)
    with origin.running() as app, origin.running() as other, origin.running() as bucket:
        folder = tmp_path_factory.mktemp("cdn")
        apps, place = [app.url, other.url], f"{bucket.url}/variants"
        with local_cdn.running(folder, apps, bucket=place, domain=DOMAIN) as cdn:
            yield StandIn(cdn, app, other, bucket)


@pytest.fixture
def stand_in(servers: StandIn) -> Iterator[StandIn]:
    """The running CDN, with an empty cache and applications that respond with the requested URL."""
    for one in (servers.app, servers.other, servers.bucket):
        one.seen.clear()
        one.answer = lambda request: origin.picture(request.url.encode(), "all")
    servers.bucket.answer = lambda _: origin.Answer(b"<Error/>", 404)
    yield servers
    for one in (servers.app, servers.other, servers.bucket):
        one.stop()
        one.start()
    servers.cdn.purge("all")
