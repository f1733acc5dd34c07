"""Purge tags name their objects, and parsing returns the parts of a tag."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packshot.cdn.cloudfront import MAX_WILDCARDS
from packshot.cdn.paths import live_paths, paths_of
from packshot.variants.tags import TagKind, erase_tag, location_tag, pack_tag, parse_tag, tenant_tag

NAMES = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
PACKS = st.from_regex(r"[0-9a-f]{24}", fullmatch=True)


@given(NAMES, NAMES, PACKS)
def test_parsing_a_tag_returns_its_parts(tenant: str, location: str, pack_id: str) -> None:
    assert parse_tag(tenant_tag(tenant)) == (TagKind.TENANT, tenant, "")
    assert parse_tag(pack_tag(tenant, pack_id)) == (TagKind.PACK, tenant, pack_id)
    assert parse_tag(location_tag(tenant, location)) == (TagKind.LOCATION, tenant, location)
    assert parse_tag(erase_tag(tenant, pack_id)) == (TagKind.ERASE, tenant, pack_id)


@pytest.mark.parametrize("text", ["", "x:a:b", "pack"])
def test_an_invalid_tag_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="TagKind"):
        parse_tag(text)


TAGS = st.one_of(
    st.builds(tenant_tag, NAMES),
    st.builds(location_tag, NAMES, NAMES),
    st.builds(pack_tag, NAMES, PACKS),
    st.builds(erase_tag, NAMES, PACKS),
)


@given(
    st.lists(TAGS, min_size=1, max_size=60),
    st.sampled_from(["", "/img", "/{tenant}/img"]),
    st.sampled_from([(None, None), ("/live", None), ("/a/b", None), ("/live", "live.example")]),
)
def test_the_paths_of_tags_cover_every_url_that_may_carry_one_and_are_never_too_many(
    tags: list[str], prefix: str, live: tuple[str | None, str | None]
) -> None:
    paths = paths_of(tags, prefix=prefix, most=MAX_WILDCARDS, live=live_paths(*live))
    assert 1 <= len(paths) <= MAX_WILDCARDS
    for text in tags:
        kind, tenant, name = parse_tag(text)
        base = prefix.replace("{tenant}", tenant)
        pack_id = name if kind in (TagKind.PACK, TagKind.ERASE) else "0" * 24
        stable = [f"{base}/api/v2/img/{pack_id}-7?location=a", f"{base}/api/v2/img/{tenant}/{pack_id}/picture.json"]
        by_name = [] if live[0] is None else [f"{base}{live[0]}/film_10_10.jpg", f"{base}{live[0]}/film.jpg"]
        by_name += [] if live[1] is None else [f"{base}/film_10_10.jpg"]
        urls = [f"{base}/i/{tenant}/{pack_id}/main/0/x.jpg"] if kind is TagKind.ERASE else stable + by_name
        assert all(any(url.startswith(path.removesuffix("*")) for path in paths) for url in urls), text


def test_where_live_urls_have_a_path_of_their_own_nothing_else_is_forgotten_with_them() -> None:
    paths = paths_of(["p:films:4f1c"], prefix="", most=15, live=live_paths("/live", None))
    assert paths == ["/api/v2/img/4f1c*", "/api/v2/img/films/4f1c*", "/live/*"]
    assert paths_of(["e:films:4f1c"], prefix="", most=15, live=live_paths("/live", None)) == ["/i/films/4f1c/*"]
