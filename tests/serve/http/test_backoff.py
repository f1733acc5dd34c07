"""Wrong credentials cause growing pauses; correct ones still work, and memory stays bounded."""

import base64
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from argon2 import PasswordHasher
from pydantic import SecretStr
from starlette.testclient import TestClient

from serve.http import backoff
from serve.http.backoff import Backoff, LoginBackoff, network_of
from tests.serve.conftest import TOKEN
from tests.serve.http.test_auth import KEY, ask, issue, serving, token
from tests.support.admin import wait_for
from tests.support.playground import Playground

PROXY = "10.0.0.0/8"
HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
USERS = SecretStr(f"ann:{HASHER.hash('right')} bob:{HASHER.hash('also right')}")


@pytest.fixture
def database_url() -> None:
    """SQLite is enough: these tests are about authentication."""


@pytest.fixture
def client(playground: Playground) -> Iterator[TestClient]:
    """Return a client behind a trusted proxy; a header then sets its address."""
    with serving(
        playground, basic_users=USERS, jwt_secret=SecretStr(KEY), trusted_proxies=PROXY, client=("10.0.0.7", 50_000)
    ) as client:
        yield client


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def ask_from(client: TestClient, authorization: str, address: str = "203.0.113.9") -> Any:
    return ask(client, authorization, **{"X-Forwarded-For": address, "X-Forwarded-Proto": "https"})


def test_repeated_wrong_tokens_get_growing_pauses(client: TestClient) -> None:
    answers = [ask_from(client, f"Bearer wrong-{number}") for number in range(100)]
    assert [answer.status_code for answer in answers[:10]] == [401] * 10
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 70
    assert refused[0].json()["errors"][0]["extensions"]["code"] == "TOO_MANY_ATTEMPTS"
    waits = [int(answer.headers["retry-after"]) for answer in refused]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (1, 60)


@pytest.mark.parametrize("kind", ["admin", "api", "jwt"])
def test_a_correct_token_works_although_its_address_sent_wrong_ones(
    client: TestClient, playground: Playground, kind: str
) -> None:
    right = {"admin": TOKEN, "api": issue(playground)[1], "jwt": token()}[kind]
    while ask_from(client, f"Bearer {right[:-4]}AAAA").status_code != 429:
        pass
    assert ask_from(client, "Bearer pst_wrong").status_code == 429
    assert ask_from(client, f"Bearer {right}").status_code == 200
    # The success resets the count of failures.
    assert ask_from(client, "Bearer wrong").status_code == 401


def test_an_expired_jwt_does_not_count_as_a_guess(client: TestClient) -> None:
    ended = token(exp=1_000_000_000)
    assert {ask_from(client, f"Bearer {ended}").status_code for _ in range(50)} == {401}


def test_during_a_pause_even_the_correct_password_is_refused(client: TestClient) -> None:
    assert [ask_from(client, basic("ann", f"wrong {number}")).status_code for number in range(8)] == [401] * 5 + [
        429
    ] * 3
    assert ask_from(client, basic("ann", "right")).status_code == 429
    # Another address, and another user at this address, are not blocked.
    assert ask_from(client, basic("ann", "right"), "203.0.113.10").status_code == 200
    assert ask_from(client, basic("bob", "also right")).status_code == 200


def test_unknown_users_get_the_same_responses_as_known_ones(client: TestClient) -> None:
    statuses = [
        [ask_from(client, basic(name, f"wrong {number}"), address).status_code for number in range(8)]
        for name, address in (("ann", "203.0.113.1"), ("eve", "203.0.113.2"))
    ]
    assert statuses[0] == statuses[1]


def test_guesses_at_many_accounts_pause_their_address_but_not_its_known_users(client: TestClient) -> None:
    assert ask_from(client, basic("ann", "right")).status_code == 200
    statuses = [ask_from(client, basic(f"user-{number}", "summer")).status_code for number in range(40)]
    assert statuses.index(429) == backoff.PASSWORDS_OF_ADDRESS
    assert ask_from(client, basic("ann", "right")).status_code == 200


def test_guesses_from_many_addresses_do_not_lock_out_the_user_at_a_known_address(client: TestClient) -> None:
    assert ask_from(client, basic("ann", "right"), "192.0.2.1").status_code == 200
    statuses = [
        ask_from(client, basic("ann", "wrong"), f"198.51.100.{number}").status_code
        for number in range(backoff.PASSWORDS_OF_ACCOUNT + 2)
    ]
    assert statuses[-1] == 429
    assert ask_from(client, basic("ann", "right"), "192.0.2.1").status_code == 200


def test_simultaneous_requests_with_one_password_hash_it_once(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    started, verify = threading.Event(), PasswordHasher.verify

    def slow(self: PasswordHasher, hash: str, password: str) -> bool:
        hashed.append(password)
        started.wait(10)
        return verify(self, hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", slow)
    with ThreadPoolExecutor(10) as threads:
        asking = [threads.submit(ask_from, client, basic("ann", "right")) for _ in range(10)]
        wait_for(lambda: hashed)
        started.set()
        assert [each.result().status_code for each in asking] == [200] * 10
    assert hashed == ["right"]


def test_simultaneous_wrong_passwords_use_one_thread_and_a_bounded_queue(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once, most, go_on = 0, 0, threading.Event()
    verify = PasswordHasher.verify

    def slow(self: PasswordHasher, hash: str, password: str) -> bool:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        go_on.wait(10)
        at_once -= 1
        return verify(self, hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", slow)
    with ThreadPoolExecutor(40) as threads:
        asking = [threads.submit(ask_from, client, basic("ann", "x"), f"203.0.113.{n}") for n in range(40)]
        # Requests beyond the full queue get their response while the first hash still runs.
        wait_for(lambda: sum(each.done() for each in asking) >= 40 - 17)
        assert ask_from(client, f"Bearer {TOKEN}").status_code == 200
        refused = [each.result() for each in asking if each.done()]
        go_on.set()
    assert most == 1
    assert {(answer.status_code, answer.json()["errors"][0]["extensions"]["code"]) for answer in refused} == {
        (503, "OVERLOADED")
    }
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)


def test_guessed_upload_tokens_write_nothing_and_get_pauses(client: TestClient, playground: Playground) -> None:
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    with playground.site.catalog.write("default"):
        statuses = [
            client.put(f"/uploads/default/{number:032x}", headers=headers | {"X-Upload-Token": "x"}).status_code
            for number in range(30)
        ]
    assert statuses == [404] * 19 + [429] * 11


def test_pauses_double_up_to_a_maximum_and_end() -> None:
    now = 0.0
    counters = Backoff(3, lambda: now)
    assert [counters.fail("a") for _ in range(5)] == [0, 0, 1, 2, 4]
    assert counters.pause("a") == 4
    assert counters.pause("b") == 0
    now = 4.0
    assert counters.pause("a") == 0
    assert counters.fail("a") == 8
    now = 12.0 + backoff.WINDOW_SECONDS + 1
    assert counters.fail("a") == 0
    for _ in range(100):
        longest = counters.fail("a")
    assert longest == backoff.MAX_PAUSE_SECONDS
    counters.forgive("a")
    assert counters.pause("a") == 0


def test_any_number_of_addresses_and_names_uses_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "MAX_COUNTERS", 50)
    counters = Backoff(3)
    for number in range(500):
        counters.fail(str(number))
    assert len(counters) == 50
    logins = LoginBackoff()
    for number in range(500):
        logins.passed(f"user {number}", "203.0.113.9")
    assert len(logins._good) == 50


def test_a_64_bit_ipv6_network_counts_as_one_address() -> None:
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:2:ffff::9") != network_of("2001:db8:1:3::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1")
