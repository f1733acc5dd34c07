"""API tokens as rows, on both databases."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from packshot.catalog.clients.tokens import digest_of
from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.catalog.tables.clients import tokens as table
from packshot.errors import Invalid, NotFound, Taken
from resolvers import tokens
from tests.support.playground import Playground


def test_a_secret_is_shown_once_and_kept_nowhere(playground: Playground) -> None:
    made, secret = tokens.create_token(playground.caller, "ci", ["read"])
    other = tokens.create_token(playground.caller, "cd", ["read"])[1]
    assert secret != other
    assert len(secret) == len("pst_") + 43
    with playground.site.catalog.read_system() as tx:
        rows = tx.connection.execute(sa.select(table)).mappings().all()
    assert not any(secret in str(value) for row in rows for value in row.values())
    assert digest_of(secret) in {row["sha256"] for row in rows}
    assert tokens.find_token(playground.site, secret) == made
    assert (made.created_by, made.scopes, made.expires_at) == ("tester", ("read",), None)


@pytest.mark.parametrize("scopes", [[], ["reading"], ["read", "READ"], [""]])
def test_scopes_are_those_that_there_are(playground: Playground, scopes: list[str]) -> None:
    with pytest.raises(Invalid) as refused:
        tokens.create_token(playground.caller, "ci", scopes)
    assert (refused.value.field, "packs:write" in (refused.value.expected or "")) == (("scopes",), True)
    assert tokens.list_tokens(playground.caller) == []


def test_a_token_has_a_name_and_an_end_to_come(playground: Playground) -> None:
    for name in ("", "CI", "a b", "a\nb", "x" * 64):
        with pytest.raises(Invalid):
            tokens.create_token(playground.caller, name, ["read"])
    with pytest.raises(Invalid) as refused:
        tokens.create_token(playground.caller, "ci", ["read"], expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert refused.value.field == ("expires_at",)


def test_a_name_is_free_again_when_its_token_is_revoked(playground: Playground) -> None:
    first, secret = tokens.create_token(playground.caller, "ci", ["read"])
    with pytest.raises(Taken) as refused:
        tokens.create_token(playground.caller, "ci", ["packs:write"])
    assert refused.value.existing_id == first.id
    revoked = tokens.revoke_token(playground.caller, first.id)
    assert revoked.revoked_at is not None
    assert tokens.revoke_token(playground.caller, first.id) == revoked
    assert tokens.find_token(playground.site, secret) is None
    second, _ = tokens.create_token(playground.caller, "ci", ["read"])
    assert [token.id for token in tokens.list_tokens(playground.caller)] == [second.id, first.id]


def test_of_two_that_take_a_name_at_once_one_gets_it(playground: Playground) -> None:
    outcomes: list[object] = []

    def create() -> None:
        try:
            outcomes.append(tokens.create_token(playground.caller, "ci", ["read"])[0])
        except Taken as error:
            outcomes.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Taken", "Taken", "Taken", "Token"]
    assert len(tokens.list_tokens(playground.caller)) == 1


def test_tokens_are_their_tenants_own(playground: Playground) -> None:
    with playground.site.catalog.write("films") as tx:
        ensure_tenant(tx)
    films = replace(playground.caller, tenant="films")
    made, secret = tokens.create_token(films, "ci", ["read"])
    assert tokens.list_tokens(playground.caller) == []
    with pytest.raises(NotFound):
        tokens.revoke_token(playground.caller, made.id)
    tokens.create_token(playground.caller, "ci", ["read"])
    found = tokens.find_token(playground.site, secret)
    assert found is not None
    assert found.tenant == "films"
    with pytest.raises(NotFound):
        tokens.create_token(replace(playground.caller, tenant="unknown"), "ci", ["read"])


def test_that_a_token_is_used_is_known_to_the_day(playground: Playground) -> None:
    made, secret = tokens.create_token(playground.caller, "ci", ["read"])

    def used() -> datetime | None:
        return tokens.list_tokens(playground.caller)[0].last_used_at

    assert used() is None
    tokens.find_token(playground.site, secret)
    first = used()
    assert first is not None
    tokens.find_token(playground.site, secret)
    assert used() == first
    with playground.site.catalog.write(made.tenant) as tx:
        tx.connection.execute(sa.update(table).values(last_used_at=first - timedelta(days=2)))
    tokens.find_token(playground.site, secret)
    later = used()
    assert later is not None
    assert later >= first
