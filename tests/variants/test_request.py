"""The request form: one spelling for all equal requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from packshot.errors import Invalid
from packshot.geometry import Gravity, Mode
from packshot.variants.request import FormatChoice, QualityChoice, RequestForm, parse_request

forms = st.builds(
    RequestForm,
    location=st.one_of(st.none(), st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True), st.text(max_size=8)),
    width=st.one_of(st.none(), st.integers(1, 9999)),
    height=st.one_of(st.none(), st.integers(1, 9999)),
    resize_mode=st.one_of(st.none(), st.sampled_from(Mode)),
    resize_gravity=st.one_of(st.none(), st.sampled_from(Gravity)),
    skip_crop=st.one_of(st.none(), st.booleans()),
    location_ratio=st.one_of(st.none(), st.booleans()),
    format=st.one_of(st.none(), st.sampled_from(FormatChoice)),
    rounded_corners=st.one_of(st.none(), st.integers(0, 9999)),
    quality=st.one_of(st.none(), st.integers(0, 100), st.just(QualityChoice.AUTO)),
    blur=st.one_of(st.none(), st.decimals(0, 250, places=3)),
    background=st.one_of(st.none(), st.from_regex(r"[0-9a-f]{6}([0-9a-f]{2})?", fullmatch=True)),
    dpr=st.one_of(st.none(), st.decimals("0.5", "4", places=2)),
)


@given(forms)
def test_a_canonical_query_reads_back_as_its_form(form: RequestForm) -> None:
    assert parse_request(form.query()) == form


@given(forms, st.randoms(use_true_random=False))
def test_order_and_case_of_names_and_unknown_parameters_make_no_difference(form: RequestForm, random: object) -> None:
    pairs = [pair for pair in form.query().split("&") if pair]
    random.shuffle(pairs)  # type: ignore[attr-defined]
    shouted = [name.upper() + "=" + value for name, _, value in (pair.partition("=") for pair in pairs)]
    assert parse_request("&".join(["date=1", *shouted, "region=eu", ""])).query() == form.query()


def test_the_spelling_is_canonical() -> None:
    asked = "RESIZE-MODE=includeall&Width=0300&height=200&dpr=2.50&format=JPG&skip-crop=TRUE&location=th%75mb"
    canonical = "location=thumb&width=300&height=200&resize-mode=includeAll&skip-crop=true&format=jpeg&dpr=2.5"
    assert parse_request(asked).query() == canonical


def test_every_parameter_has_its_place() -> None:
    asked = (
        "background=00AAff80&dpr=2&blur=07.50&quality=AUTO&format=webp&rounded-corners=012&location-ratio=true"
        "&resize-gravity=SMART&resize-mode=canvas"
    )
    assert parse_request(asked).query() == (
        "resize-mode=canvas&resize-gravity=smart&location-ratio=true&rounded-corners=12&format=webp&quality=auto"
        "&blur=7.5&dpr=2&background=00aaff80"
    )


def test_of_a_repeated_parameter_the_first_counts() -> None:
    assert parse_request("width=100&width=200&WIDTH=300").width == 100


def test_an_empty_query_requests_no_parameter() -> None:
    assert parse_request("") == RequestForm()


@pytest.mark.parametrize(
    ("query", "parameter", "expected"),
    [
        ("width=+5", "width", "plain digits"),
        ("width=%205", "width", "plain digits"),
        ("width=-1", "width", "plain digits"),
        ("width=1e3", "width", "plain digits"),
        ("width=5.0", "width", "plain digits"),
        ("width=0", "width", "from 1"),
        ("width=", "width", "plain digits"),
        ("width=%D9%A5", "width", "plain digits"),
        ("height=99999999999", "height", "plain digits"),
        ("resize-mode=zoom", "resize-mode", "crop, includeAll, clip, cover, canvas, stretch"),
        ("rounded-corners=-1", "rounded-corners", "from 0"),
        ("rounded-corners=1.5", "rounded-corners", "plain digits"),
        ("blur=250.1", "blur", "0 to 250"),
        ("blur=true", "blur", "0 to 250"),
        ("background=red", "background", "rrggbb"),
        ("background=%23ff0000", "background", "rrggbb"),
        ("background=fff", "background", "rrggbb"),
        ("quality=best", "quality", "auto"),
        ("resize-gravity=up", "resize-gravity", "northwest"),
        ("skip-crop=yes", "skip-crop", "true, false"),
        ("format=bmp", "format", "avif"),
        ("quality=101", "quality", "0 to 100"),
        ("dpr=0.4", "dpr", "0.5 to 4"),
        ("dpr=1e1", "dpr", "0.5 to 4"),
    ],
)
def test_an_odd_value_is_refused_with_what_was_expected(query: str, parameter: str, expected: str) -> None:
    with pytest.raises(Invalid) as refusal:
        parse_request(query)
    assert refusal.value.field == (parameter,)
    assert expected in (refusal.value.expected or "")
    assert refusal.value.got is not None


@pytest.mark.parametrize("query", ["location=%", "location=%zz", "x=%f", "location=%ff", "%e2%28=1"])
def test_a_broken_escape_is_refused_even_in_an_unknown_parameter(query: str) -> None:
    with pytest.raises(Invalid):
        parse_request(query)


@pytest.mark.parametrize("query", ["location=\u00e9", "x=\u00e9", "location=a b", "a#b", "location=\x00", "a\x7f"])
def test_all_but_printable_ascii_must_be_escaped(query: str) -> None:
    with pytest.raises(Invalid):
        parse_request(query)


def test_only_the_case_of_ascii_makes_no_difference() -> None:
    # The lower case of the Kelvin sign is a plain k.
    assert parse_request("bac%E2%84%AAground=x") == RequestForm()


@given(st.text())
def test_any_text_is_read_or_refused(query: str) -> None:
    try:
        form = parse_request(query)
    except Invalid:
        return
    assert parse_request(form.query()) == form
