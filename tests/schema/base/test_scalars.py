"""Scalars accept what their descriptions say, and refuse everything else."""

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from graphql import GraphQLError
from hypothesis import given
from hypothesis import strategies as st

from schema.base.scalars import MAX_LONG, read_datetime, read_long, read_url, write_datetime, write_long
from tests.schema.api import Api


@given(st.integers(-MAX_LONG, MAX_LONG))
def test_a_long_survives_a_round_trip(number: int) -> None:
    assert read_long(write_long(number)) == number


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_date_time_survives_a_round_trip(moment: datetime) -> None:
    assert read_datetime(write_datetime(moment)) == moment


def test_a_date_time_is_written_in_utc_with_microseconds_and_z() -> None:
    moment = datetime(2026, 11, 21, 13, 0, 0, 5, tzinfo=timezone(timedelta(hours=1)))
    assert write_datetime(moment) == "2026-11-21T12:00:00.000005Z"
    assert write_datetime(datetime(900, 1, 1, tzinfo=UTC)) == "0900-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    "value", ["2026-11-21", "2026-11-21T12:00:00", "yesterday", "", 5, None, "0001-01-01T00:00:00+14:00"]
)
def test_an_invalid_date_time_is_refused(value: Any) -> None:
    with pytest.raises(GraphQLError, match="DateTime is"):
        read_datetime(value)


@pytest.mark.parametrize("value", [True, False, 1.5, "1", None, MAX_LONG + 1, -MAX_LONG - 1, 1e30, math.nan, -math.inf])
def test_an_invalid_long_is_refused(value: Any) -> None:
    with pytest.raises(GraphQLError, match="Long is"):
        read_long(value)


def test_a_long_accepts_whole_floats_like_an_int(api: Api) -> None:
    document = "query Q($n: Long!) { packs(filter: {sequenceAfter: $n}) { totalCount } }"
    for value in (4711, 4711.0, 0.0, -0.0):
        assert not api.run(document, n=value).errors
        assert not api.run(f"{{ packs(filter: {{sequenceAfter: {value}}}) {{ totalCount }} }}").errors
        assert isinstance(read_long(value), int)
    for value in (4711.5, 1e300):
        assert "Long is" in api.error(document, n=value)["message"]


@pytest.mark.parametrize("value", ["/relative", "ftp://host/x", "http://", "http://[::1", "javascript:alert(1)", 5])
def test_an_invalid_url_is_refused(value: Any) -> None:
    with pytest.raises(GraphQLError, match="URL is"):
        read_url(value)


@pytest.mark.parametrize("value", [1.5, True, "1", 2**31])
@pytest.mark.parametrize(
    "document",
    [
        "query A($value: Int!) { packs(first: $value) { totalCount } }",
        'mutation B($value: Int) { putLocation(input: {name: "a", width: $value}) { userErrors { code } } }',
    ],
)
def test_an_int_beyond_32_bits_or_with_a_fraction_is_refused(api: Api, document: str, value: Any) -> None:
    assert "invalid value" in api.error(document, value=value)["message"]


@pytest.mark.parametrize("value", ["1.5", "true", '"1"', "9007199254740992"])
def test_the_same_rules_apply_to_literals(api: Api, value: str) -> None:
    assert api.run(f"{{ packs(filter: {{sequenceAfter: {value}}}) {{ totalCount }} }}").errors
    assert api.run(f"{{ packs(first: {value}) {{ totalCount }} }}").errors
    assert not api.run("{ packs(filter: {sequenceAfter: 9007199254740991}) { totalCount } }").errors


@pytest.mark.parametrize("value", [True, "0.5", float("nan"), float("inf")])
def test_a_crop_needs_finite_numbers(api: Api, value: Any) -> None:
    document = """mutation C($value: Float!) {
      setCrop(packId: "x", location: "main",
              crop: {topLeftX: $value, topLeftY: 0, bottomRightX: 1, bottomRightY: 1}) { userErrors { code } } }"""
    assert "invalid value" in api.error(document, value=value)["message"]
