"""Surrogate keys, as in Fastly: one API call purges them everywhere within a moment."""

from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import quote

import orjson
import urllib3

from packshot.cdn.base import REPEAT_AFTER, ProviderBusy
from packshot.errors import Invalid
from packshot.network.http_connection import make_pool

API = "https://api.fastly.com"
TIMEOUT = urllib3.Timeout(connect=3.0, read=10.0)
_ADVICE = {
    401: "it does not accept the token: correct PACKSHOT_FASTLY_TOKEN",
    403: "the token may not purge: give it the scope purge_select",
    404: "this service does not exist: correct PACKSHOT_FASTLY_SERVICE",
}


class SurrogateKeyPurger:
    """One Fastly service.

    Every purge is hard. After a soft purge, `stale-while-revalidate` would show the old copy once more to the next
    visitor of each cache.

    Args:
        service: its id.
        token: token of its API with the scope `purge_select`.
    """

    by_tags = True
    # The limit of one call.
    most_tags = 256
    repeat_after: timedelta | None = REPEAT_AFTER

    def __init__(self, service: str, token: str, *, api: str = API) -> None:
        self._url = f"{api}/service/{quote(service, safe='')}"
        self._headers = {"Fastly-Key": token, "Accept": "application/json", "Content-Type": "application/json"}
        self._http = make_pool(maxsize=4, retries=False, timeout=TIMEOUT)

    def headers(self, tags: Sequence[str]) -> dict[str, str]:
        return {"Surrogate-Key": " ".join(tags)}

    def purge(self, tags: Sequence[str], *, reference: str, erasing: bool) -> str:
        self._ask("POST", f"{self._url}/purge", orjson.dumps({"surrogate_keys": list(tags)}))
        return reference

    def is_complete(self, provider_id: str) -> bool:
        return True

    def check(self) -> str:
        self._ask("GET", self._url)
        return "Fastly, which accepts service and token"

    def _ask(self, method: str, url: str, body: bytes | None = None) -> None:
        try:
            answer = self._http.request(method, url, body=body, headers=self._headers)
        except urllib3.exceptions.HTTPError as error:
            raise OSError(f"Fastly does not answer ({error})") from error
        if answer.status == 200:
            return
        if answer.status == 429:
            raise ProviderBusy("Fastly accepts no more purges this hour")
        if answer.status == 400:
            message = answer.data[:200].decode("latin-1")
            raise Invalid("Fastly refuses the purge.", expected="keys that it accepts", got=message)
        raise OSError(
            f"Fastly answers {answer.status}: {_ADVICE.get(answer.status, 'it has a fault; the purge is tried again')}"
        )
