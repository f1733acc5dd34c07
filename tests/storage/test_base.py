"""The rules for keys, prefixes and metadata."""

import re
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packshot.storage.base import MAX_TAGS_BYTES, Metadata, check_key, check_prefix

_good_keys = st.lists(
    st.from_regex(re.compile(r"[a-z0-9][a-z0-9._-]{0,30}"), fullmatch=True).filter(lambda text: ".." not in text),
    min_size=1,
    max_size=8,
).map("/".join)


@given(_good_keys)
def test_every_valid_key_and_its_prefixes_are_accepted(key: str) -> None:
    assert check_key(key) == key
    assert check_prefix(key + "/") == key + "/"
    folder = key.rpartition("/")[0]
    assert check_prefix(folder) == folder


@given(st.text(st.sampled_from("ab0._-/A \\\n\x00é"), max_size=30))
def test_an_accepted_key_cannot_traverse(text: str) -> None:
    try:
        key = check_key(text)
    except ValueError:
        return
    assert str(PurePosixPath("/root") / key) == f"/root/{key}"
    assert ".." not in key
    assert key == key.lower()
    assert re.fullmatch(r"[a-z0-9._/-]+", key)


@pytest.mark.parametrize("text", ["", "a\r\nSet-Cookie: x", "é", "\x00"])
def test_metadata_that_cannot_be_a_header_is_refused(text: str) -> None:
    for content_type, cache_control in ((text, None), ("image/png", text)):
        with pytest.raises(ValueError, match="printable ASCII"):
            Metadata(content_type, cache_control, ())


@pytest.mark.parametrize("tag", ["", "a b", "a,b", "a\nb", "é"])
def test_a_tag_with_a_separator_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="Tag: expected"):
        Metadata("image/png", None, ("fine", tag))


def test_more_tags_than_every_store_can_keep_are_refused() -> None:
    tags = tuple(f"{number:05}" for number in range(MAX_TAGS_BYTES // 6))
    assert Metadata("image/png", None, tags).tags == tags
    with pytest.raises(ValueError, match="Tags: expected at most 1800 bytes"):
        Metadata("image/png", None, (*tags, "1"))
