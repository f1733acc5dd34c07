"""Concurrent live resize uploads: exactly one is the first, on every database."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.catalog.tables.artwork import packs
from packshot.errors import Forbidden, PackshotError
from packshot.geometry import Box
from resolvers import live_resize
from tests.support.pictures import jpeg, photo
from tests.support.playground import TENANT, Playground

AT_ONCE = 8


def together(act: Callable[[int], object], count: int = AT_ONCE) -> list[object]:
    """Run a function in threads that start at the same time; return their results, refusals included."""
    start = threading.Barrier(count)

    def one(index: int) -> object:
        start.wait()
        try:
            return act(index)
        except PackshotError as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def images(playground: Playground) -> list[str]:
    with playground.site.catalog.read(TENANT) as tx:
        return list(tx.connection.scalars(sa.select(packs.c.external_id)))


def received(playground: Playground, index: int) -> Path:
    path = playground.site.incoming / str(index)
    path.write_bytes(jpeg(photo(20 + index, 20)))
    return path


def test_one_token_used_at_once_opens_once(playground: Playground) -> None:
    token = live_resize.create_token(playground.site, TENANT, "film")
    outcomes = together(lambda _: live_resize.use_token(playground.site, TENANT, "film.jpg", token))
    refused = [one for one in outcomes if isinstance(one, PackshotError)]
    assert len(refused) == AT_ONCE - 1
    assert {type(one) for one in refused} == {Forbidden}


def test_of_many_tokens_of_one_id_exactly_one_makes_the_image(playground: Playground) -> None:
    tokens = [live_resize.create_token(playground.site, TENANT, "film") for _ in range(AT_ONCE)]
    uploads = [live_resize.use_token(playground.site, TENANT, "film.jpg", token) for token in tokens]
    files = [received(playground, index) for index in range(AT_ONCE)]
    made = together(lambda i: live_resize.create_image(playground.caller, uploads[i], files[i], None))
    (won,) = [index for index, one in enumerate(made) if not isinstance(one, PackshotError)]
    assert {type(one) for index, one in enumerate(made) if index != won} == {Forbidden}
    assert images(playground) == ["film"]
    with playground.site.catalog.read(TENANT) as tx:
        pack_id = live_resize.find_pack(tx, "film")
    original = playground.snapshot(pack_id).pack_location("main").original
    assert original is not None
    assert original.width == 20 + won


def test_the_image_is_there_with_its_original_or_not_at_all(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = live_resize.create_token(playground.site, TENANT, "film")
    upload = live_resize.use_token(playground.site, TENANT, "film", token)
    path = received(playground, 1)

    def die(*_: object, **__: object) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as patched:
        patched.setattr("resolvers.pack_imports.order_packs", die)
        with pytest.raises(SystemExit):
            live_resize.create_image(playground.caller, upload, path, None)
    assert images(playground) == []
    with pytest.raises(Forbidden):
        live_resize.use_token(playground.site, TENANT, "film", token)
    upload = live_resize.use_token(
        playground.site, TENANT, "film", live_resize.create_token(playground.site, TENANT, "film")
    )
    assert live_resize.create_image(playground.caller, upload, path, Box(1, 2, 3, 4)) == (3, 4)


def test_another_tenant_has_ids_of_its_own(playground: Playground) -> None:
    with playground.site.catalog.write("other") as tx:
        ensure_tenant(tx)
    token = live_resize.create_token(playground.site, "other", "film")
    with pytest.raises(Forbidden):
        live_resize.use_token(playground.site, TENANT, "film", token)
    upload = live_resize.use_token(playground.site, "other", "film", token)
    live_resize.create_image(replace(playground.caller, tenant="other"), upload, received(playground, 1), None)
    assert live_resize.create_token(playground.site, TENANT, "film")
