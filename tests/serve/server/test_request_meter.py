"""A request may not exceed its limits, and a refusal holds no memory."""

import traceback

import pytest

from serve.server.http_refusals import Refused
from serve.server.request_meter import MAX_FRAMING_BYTES, MAX_FRAMING_PER_CONTENT_BYTE, MAX_HEADER_FIELDS, RequestMeter


def test_the_limit_of_chunk_framing_grows_with_the_content() -> None:
    meter = RequestMeter()
    meter.add_framing(MAX_FRAMING_BYTES)
    meter.add_content(100)
    meter.add_framing(100 * MAX_FRAMING_PER_CONTENT_BYTE)
    with pytest.raises(Refused) as refused:
        meter.add_framing(1)
    assert refused.value.status == 400


def test_trailers_count_as_header_fields() -> None:
    meter = RequestMeter(fields=MAX_HEADER_FIELDS)
    with pytest.raises(Refused) as refused:
        meter.add_field()
    assert refused.value.status == 431


def test_refusals_do_not_accumulate_stack_frames() -> None:
    depths = []
    for _ in range(3):
        with pytest.raises(Refused) as refused:
            RequestMeter().add_framing(MAX_FRAMING_BYTES + 1)
        depths.append(len(traceback.extract_tb(refused.value.__traceback__)))
    assert depths[0] == depths[1] == depths[2]
