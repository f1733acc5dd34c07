"""Varnish with the module xkey: purges are requests that its VCL handles."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

import urllib3

from packshot.cdn.base import REPEAT_AFTER
from packshot.network.http_connection import make_pool

# Varnish accepts header lines of 8 KiB by default; the rest of the request is small.
MAX_LINE_BYTES = 4096
TIMEOUT = urllib3.Timeout(connect=2.0, read=10.0)
# No image has this tag.
_UNUSED_TAG = "packshot-doctor"


class VarnishPurger:
    """All Varnish servers. Each gets a request `PURGE /` with the tags in a header, and answers 200 when it is done.

    `Xkey-Softpurge` marks copies as stale, so that they can still be shown while Packshot is down. `Xkey-Purge` removes
    them. `infra/local-cdn` has a VCL for both.

    Args:
        urls: addresses at which each Varnish accepts purges, such as `http://10.0.0.5:6081`.
    """

    by_tags = True
    most_tags = 1000
    repeat_after: timedelta | None = REPEAT_AFTER

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = tuple(urls)
        self._http = make_pool(maxsize=4, retries=False, timeout=TIMEOUT)

    def headers(self, tags: Sequence[str]) -> dict[str, str]:
        return {"Xkey": " ".join(tags)}

    def purge(self, tags: Sequence[str], *, reference: str, erasing: bool) -> str:
        """Purge at every Varnish. If one does not answer, the whole purge is an outage and is sent to all again."""
        name = "Xkey-Purge" if erasing else "Xkey-Softpurge"
        for portion in lines(tags, MAX_LINE_BYTES):
            for url in self._urls:
                self._ask(url, {name: portion})
        return reference

    def is_complete(self, provider_id: str) -> bool:
        return True

    def check(self) -> str:
        for url in self._urls:
            self._ask(url, {"Xkey-Softpurge": _UNUSED_TAG})
        return f"Varnish, {len(self._urls)} of {len(self._urls)} take purges"

    def _ask(self, url: str, headers: dict[str, str]) -> None:
        try:
            answer = self._http.request("PURGE", f"{url}/", headers=headers)
        except urllib3.exceptions.HTTPError as error:
            raise OSError(f"{url} does not answer: start it, or correct PACKSHOT_VARNISH_URLS ({error})") from error
        if answer.status != 200:
            advice = "allow this machine in its acl, and give it the VCL of infra/local-cdn"
            raise OSError(f"{url} answers a purge with {answer.status}: {advice}")


def lines(tags: Sequence[str], most_bytes: int) -> Iterator[str]:
    """Divide tags into lines of at most `most_bytes` bytes; the tags of a line are separated by spaces."""
    line = ""
    for tag in tags:
        if line and len(line) + 1 + len(tag) > most_bytes:
            yield line
            line = ""
        line = f"{line} {tag}" if line else tag
    if line:
        yield line
