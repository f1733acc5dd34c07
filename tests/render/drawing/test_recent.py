"""Render processes keep the last decoded original, and draw the same bytes with and without it."""

import pytest

from packshot.geometry import Box, Size
from packshot.model import Format
from packshot.render.decoding import decode
from packshot.render.drawing import paths, recent
from packshot.render.drawing.pipeline import Rendered, render_all
from packshot.render.drawing.recent import RecentOriginals
from packshot.render.limits import Limits
from packshot.variants.plan import Drawing
from tests.support import pictures

LIMITS = Limits()
SOURCE = Size(900, 700)


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Note for each decoding whether it was at half size."""
    made: list[bool] = []

    def counted(data: bytes, limits: Limits, *, halved: bool = False) -> decode.Decoded:
        made.append(halved)
        return decode.decode(data, limits, halved=halved)

    monkeypatch.setattr(paths, "decode", counted)
    return made


def draw(original: bytes, width: int, kept: RecentOriginals | None = None) -> bytes:
    size = Size(width, width * SOURCE.height // SOURCE.width)
    drawing = Drawing(Box(0, 0, *SOURCE), size, Box(0, 0, *size), Format.JPEG, 80, None)
    levels = None if kept is None else kept.levels_of(original, LIMITS)
    (outcome,) = render_all(original, [drawing], LIMITS, levels=levels)
    assert isinstance(outcome, Rendered)
    return outcome.data


@pytest.mark.parametrize("format", ["jpeg", "png"])
def test_an_original_is_decoded_once_for_many_renders(format: str, decodings: list[bool]) -> None:
    original = pictures.encoded(pictures.photo(*SOURCE), format)
    widths = [800, 500, 300, 150, 60, 640]
    alone = [draw(original, width) for width in widths]
    decodings.clear()
    kept = RecentOriginals()
    assert [draw(original, width, kept) for width in widths] == alone
    # A JPEG is decoded at full size for large drawings, and at half size for small ones.
    assert decodings == ([False, True] if format == "jpeg" else [False])


def test_another_original_replaces_the_last_one(decodings: list[bool]) -> None:
    one, other = (pictures.png(pictures.photo(*SOURCE, seed=seed)) for seed in (1, 2))
    kept = RecentOriginals()
    first = draw(one, 300, kept)
    assert draw(other, 300, kept) != first
    assert draw(one, 300, kept) == first
    assert len(decodings) == 3


def test_large_levels_are_not_kept(decodings: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    original = pictures.jpeg(pictures.photo(*SOURCE))
    # Room for the half and its further levels, but not for the whole.
    monkeypatch.setattr(recent, "MAX_KEPT_PIXELS", SOURCE.width * SOURCE.height // 2)
    kept = RecentOriginals()
    for width in (800, 700, 250, 200):
        draw(original, width, kept)
    assert decodings == [False, False, True]
    decodings.clear()
    monkeypatch.setattr(recent, "MAX_KEPT_BYTES", len(original) - 1)
    kept = RecentOriginals()
    for width in (250, 200):
        draw(original, width, kept)
    assert decodings == [True, True]


def test_only_small_levels_are_kept_between_renders(decodings: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    original = pictures.png(pictures.photo(*SOURCE))
    # Room for the half, but not for the whole.
    monkeypatch.setattr(recent, "MAX_KEPT_PIXELS", SOURCE.width * SOURCE.height // 2)
    kept = RecentOriginals()
    # Like a render that stops early, without releasing levels.
    kept.levels_of(original, LIMITS).at(2)
    kept.settle()
    draw(original, 200, kept)
    assert decodings == [False]
    draw(original, 800, kept)
    assert decodings == [False, False]
    kept.settle()
    monkeypatch.setattr(recent, "LARGEST_LEVEL", SOURCE.width * SOURCE.height - 1)
    kept.settle()
    draw(original, 200, kept)
    assert decodings == [False, False, False]
