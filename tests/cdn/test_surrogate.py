"""Fastly purges keys at once. Purges beyond its limit wait, and its token is never shown."""

from collections.abc import Iterator

import pytest

from packshot.cdn.base import ProviderBusy
from packshot.cdn.surrogate import SurrogateKeyPurger
from packshot.errors import Invalid
from tests.servers.fastly import Fastly, running


@pytest.fixture
def fastly() -> Iterator[Fastly]:
    with running() as fastly:
        yield fastly


def purger_of(fastly: Fastly, token: str | None = None, service: str | None = None) -> SurrogateKeyPurger:
    return SurrogateKeyPurger(service or fastly.service, token or fastly.token, api=fastly.url)


def test_keys_are_purged_in_one_call(fastly: Fastly) -> None:
    purger = purger_of(fastly)
    tags = [f"p:default:{number:024x}" for number in range(purger.most_tags)]
    assert purger.is_complete(purger.purge(tags, reference="1", erasing=False))
    assert fastly.purged == [tags]
    assert purger.headers(["t:a", "p:a:b"]) == {"Surrogate-Key": "t:a p:a:b"}
    with pytest.raises(Invalid, match="refuses"):
        purger.purge([*tags, "t:default"], reference="2", erasing=False)


def test_a_purge_waits_for_the_hourly_limit(fastly: Fastly) -> None:
    fastly.room = 0
    with pytest.raises(ProviderBusy, match="this hour"):
        purger_of(fastly).purge(["t:default"], reference="1", erasing=True)


def test_errors_say_what_to_correct_without_the_token(fastly: Fastly) -> None:
    assert purger_of(fastly).check() == "Fastly, which accepts service and token"
    with pytest.raises(OSError, match="correct PACKSHOT_FASTLY_TOKEN") as unknown:
        purger_of(fastly, token="another-secret").check()
    with pytest.raises(OSError, match="correct PACKSHOT_FASTLY_SERVICE"):
        purger_of(fastly, service="none").purge(["t:default"], reference="1", erasing=False)
    with running() as gone:
        pass
    with pytest.raises(OSError, match="does not answer") as away:
        purger_of(gone).check()
    assert "secret" not in f"{unknown.value} {away.value}"
