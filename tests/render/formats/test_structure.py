"""Files of millions of parts are refused before a codec reads them. Files as encoders write them are accepted."""

import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

from packshot.errors import TooLarge
from packshot.render.decoding.decode import check_samples, decode, inspect, open_original
from packshot.render.formats.structure import (
    MAX_BOXES,
    MAX_JPEG_FILL_BYTES,
    MAX_JPEG_SEGMENTS,
    MAX_TIFF_STRIPS,
    MIN_PARTS,
)
from packshot.render.limits import Limits
from tests.support import pictures

PHOTO = pictures.photo(64, 48)
JPEG, PNG, GIF = pictures.jpeg(PHOTO), pictures.png(PHOTO), pictures.encoded(PHOTO, "GIF")


def chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def riff(*chunks: bytes) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def box(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", 8 + len(data)) + kind + data


def tiff(tag: int, count: int) -> bytes:
    file = BytesIO()
    PHOTO.save(file, "TIFF")
    data = bytearray(file.getvalue())
    start = int.from_bytes(data[4:8], "little")
    for entry in range(int.from_bytes(data[start : start + 2], "little")):
        at = start + 2 + 12 * entry
        if int.from_bytes(data[at : at + 2], "little") == tag:
            data[at + 4 : at + 8] = struct.pack("<I", count)
    return bytes(data)


FLOODS = {
    "PNG, empty IDAT": PNG[:33] + chunk(b"IDAT") * (MIN_PARTS + 1) + PNG[33:],
    "PNG, gAMA": PNG[:33] + chunk(b"gAMA", b"\0\1\0\0") * (MIN_PARTS + 1) + PNG[33:],
    "PNG, after the pixels": PNG[:-12] + chunk(b"tEXt", b"a\0b") * (MIN_PARTS + 1) + PNG[-12:],
    "GIF, comments": GIF[:-1] + b"!\xfe\x01a\0" * MIN_PARTS + b";",
    "GIF, one byte per block": GIF[:-1] + b"!\xfe" + b"\x01a" * (MIN_PARTS + 1) + b"\0;",
    "GIF, zeros between blocks": GIF[:-1] + bytes(MIN_PARTS + 1) + b";",
    "JPEG, comments": JPEG[:2] + b"\xff\xfe\0\2" * (MAX_JPEG_SEGMENTS + 1) + JPEG[2:],
    "JPEG, fill bytes": JPEG[:2] + b"\xff" * (MAX_JPEG_FILL_BYTES + 1) + JPEG[2:],
    "JPEG, junk": JPEG[:2] + b"\xff\xfe\0\2" + b"a" * (MAX_JPEG_FILL_BYTES + 1) + JPEG[2:],
    "JPEG, metadata": JPEG[:2] + (b"\xff\xe1\xff\xff" + b"Exif\0\0" + bytes(65_527)) * 257 + JPEG[2:],
    "WebP, chunks": riff(b"VP8X" + struct.pack("<I", 10) + bytes(10), b"EXIF\0\0\0\0" * MIN_PARTS),
    "TIFF, strips": tiff(273, MAX_TIFF_STRIPS + 1),
    "TIFF, strip lengths": tiff(279, MAX_TIFF_STRIPS + 1),
    "AVIF, boxes": box(b"ftyp", b"avif\0\0\0\0") + box(b"free") * MAX_BOXES,
    "AVIF, properties": box(b"ftyp", b"avif\0\0\0\0")
    + box(b"meta", bytes(4) + box(b"iprp", box(b"ipco", box(b"irot", b"\0") * MAX_BOXES))),
    "HEIC, boxes": box(b"ftyp", b"heic\0\0\0\0") + box(b"free") * MAX_BOXES,
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_file_of_too_many_parts_is_refused(name: str) -> None:
    for read in (inspect, decode):
        with pytest.raises(TooLarge) as refused:
            read(FLOODS[name], Limits())
        assert str(refused.value.expected).startswith("at most ")


@pytest.mark.parametrize("tags", [{277: 40, 258: (64,) * 4}, {322: 60_000, 323: 60_000}])
def test_a_tiff_whose_samples_need_too_much_memory_is_refused(tags: dict[int, object]) -> None:
    source, _ = open_original(pictures.tiff(Image.new("RGB", (3000, 2000))), Limits())
    assert isinstance(source, TiffImageFile)
    source.tag_v2._tags_v2.update(tags)
    with pytest.raises(TooLarge, match="samples"):
        check_samples(source, Limits())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(PNG[:33] + chunk(b"tEXt", b"a\0b") * 200 + PNG[33:], id="PNG with texts"),
        pytest.param(GIF[:-1] + b"!\xfe\x01a\0" * 1000 + b";", id="GIF with comments"),
        pytest.param(JPEG[:2] + b"\xff" * 100 + JPEG[2:], id="JPEG with fill bytes"),
        pytest.param(
            JPEG[:2] + (b"\xff\xe1\xff\xff" + b"http://ns.adobe.com/xmp/extension/\0" + bytes(65_498)) * 100 + JPEG[2:],
            id="JPEG with a long XMP packet",
        ),
    ],
)
def test_a_file_of_many_parts_is_decoded(data: bytes) -> None:
    assert decode(data, Limits()).size == (64, 48)


def test_a_png_in_small_chunks_is_decoded() -> None:
    # 512 bytes per chunk, less than any known encoder writes.
    picture = pictures.noise(400, 300)
    data = zlib.compress(b"".join(b"\0" + picture.crop((0, row, 400, row + 1)).tobytes() for row in range(300)))
    parts = [chunk(b"IDAT", data[at : at + 512]) for at in range(0, len(data), 512)]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 400, 300, 8, 2, 0, 0, 0))
    file = b"\x89PNG\r\n\x1a\n" + head + b"".join(parts) + chunk(b"IEND")
    assert decode(file, Limits()).picture.tobytes() == Image.open(BytesIO(file)).tobytes()
