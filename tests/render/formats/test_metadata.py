"""Variants carry credits at most, and no other metadata."""

import struct
from io import BytesIO
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from packshot.geometry import Box, Size
from packshot.model import Format
from packshot.render.drawing.pipeline import Rendered, render_all
from packshot.render.limits import Limits
from packshot.variants.plan import Drawing
from tests.support import pictures

ARTIST, COPYRIGHT = 0x013B, 0x8298
KEEPING = [format for format in Format if format is not Format.GIF]
XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description photoshop:Credit="Agency &amp; Sons">
<dc:creator><rdf:Seq><rdf:li>J\u00f6rg Fotograf</rdf:li></rdf:Seq></dc:creator>
<dc:rights><rdf:Alt><rdf:li xml:lang="x-default">\u00a9 2026 Studio</rdf:li></rdf:Alt></dc:rights>
</rdf:Description></rdf:RDF></x:xmpmeta>"""


def drawn(original: bytes, format: Format, *, credits: bool = True) -> Image.Image:
    size = Size(16, 12)
    drawing = Drawing(Box(0, 0, 32, 24), size, Box(0, 0, *size), format, 80, None, credits=credits)
    (outcome,) = render_all(original, [drawing], Limits())
    assert isinstance(outcome, Rendered)
    return Image.open(BytesIO(outcome.data))


def told(picture: Image.Image) -> dict[int, str]:
    return {tag: value.encode("latin-1").decode() for tag, value in dict(picture.getexif()).items()}


def exif(artist: bytes | None = None, notice: bytes | None = None) -> bytes:
    data = Image.Exif()
    data.load(pictures.exif(1))
    for tag, value in ((ARTIST, artist), (COPYRIGHT, notice)):
        if value is not None:
            data[tag] = value
    return data.tobytes()


def iptc(**records: bytes) -> dict[str, bytes]:
    """Return JPEG options with IPTC records, as Photoshop writes them."""
    numbers = {"byline": 80, "credit": 110, "notice": 116}
    body = b"".join(struct.pack(">3BH", 0x1C, 2, numbers[name], len(text)) + text for name, text in records.items())
    block = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(body)) + body + b"\0" * (len(body) % 2)
    return {"extra": b"\xff\xed" + struct.pack(">H", len(block) + 2) + block}


PHOTO = pictures.photo(32, 24)


@pytest.mark.parametrize("format", KEEPING)
def test_only_credits_of_exif_stay(format: Format) -> None:
    data = pictures.jpeg(
        PHOTO, exif=exif("J\u00f6rg".encode(), "\u00a9 J\u00f6rg".encode()), comment=b"hush", xmp=XMP.encode()
    )
    result = drawn(data, format)
    assert told(result) == {ARTIST: "J\u00f6rg / Agency & Sons", COPYRIGHT: "\u00a9 J\u00f6rg"}
    assert not result.getexif().get_ifd(0x8825)
    assert not {"xmp", "comment", "icc_profile"} & result.info.keys()
    assert told(drawn(data, format, credits=False)) == {}


@pytest.mark.parametrize("source", ["jpeg", "webp", "png", "avif"])
def test_credits_are_read_from_xmp_of_every_format(source: str) -> None:
    options: dict[str, Any] = {"xmp": XMP.encode()}
    if source == "png":
        info = PngInfo()
        info.add_itxt("XML:com.adobe.xmp", XMP)
        options = {"pnginfo": info}
    data = getattr(pictures, source)(PHOTO, **options)
    assert told(drawn(data, Format.JPEG)) == {
        ARTIST: "J\u00f6rg Fotograf / Agency & Sons",
        COPYRIGHT: "\u00a9 2026 Studio",
    }


def test_credits_are_read_from_iptc() -> None:
    data = pictures.jpeg(PHOTO, **iptc(byline=b"Ann", credit=b"AP", notice=b"\xa9 AP"))
    assert told(drawn(data, Format.WEBP)) == {ARTIST: "Ann / AP", COPYRIGHT: "\u00a9 AP"}


def test_exif_takes_precedence_over_iptc_and_iptc_over_xmp() -> None:
    data = pictures.jpeg(PHOTO, exif=exif(artist=b"Exif"), xmp=XMP.encode(), **iptc(byline=b"Iptc", notice=b"Iptc too"))
    assert told(drawn(data, Format.JPEG)) == {ARTIST: "Exif / Agency & Sons", COPYRIGHT: "Iptc too"}


def test_credits_are_read_from_tiff_tags() -> None:
    data = pictures.tiff(PHOTO, tiffinfo={ARTIST: "Ann", COPYRIGHT: "(c) Ann"})
    assert told(drawn(data, Format.JPEG)) == {ARTIST: "Ann", COPYRIGHT: "(c) Ann"}


def test_credits_are_one_short_line_of_visible_characters() -> None:
    dirty = "a\r\nb\x07\u202ec".encode() + b" x" * 5000
    shown = told(drawn(pictures.jpeg(PHOTO, exif=exif(artist=dirty)), Format.JPEG))[ARTIST]
    assert shown.startswith("a b c x x")
    assert len(shown) <= 200


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"exif": exif()},
        {"exif": exif(b" ", b"")},
        {"xmp": b"<dc:creator>" * 50_000},
        {"exif": b"Exif\0\0II*\0\xff"},
    ],
)
def test_an_original_without_credits_gets_no_metadata(options: dict[str, Any]) -> None:
    assert (
        told(
            drawn(
                pictures.png(PHOTO, **options) if "xmp" not in options else pictures.webp(PHOTO, **options), Format.JPEG
            )
        )
        == {}
    )


def test_an_animation_keeps_its_credits() -> None:
    frames = [pictures.photo(32, 24, seed=seed) for seed in range(3)]
    data = pictures.webp(frames[0], save_all=True, append_images=frames[1:], exif=exif(artist=b"Ann"))
    result = drawn(data, Format.WEBP)
    assert getattr(result, "n_frames", 1) == 3
    assert told(result) == {ARTIST: "Ann"}
    assert told(drawn(data, Format.GIF)) == {}
