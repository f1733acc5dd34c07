"""Stripped originals: what is removed, what stays, and what is refused."""

import random
import struct
import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import pytest
from PIL import Image, ImageFile, IptcImagePlugin, PngImagePlugin

from packshot.errors import PackshotError, Unrenderable
from packshot.render.decoding.decode import decode
from packshot.render.drawing.probe import probe
from packshot.render.formats.sniffing import ACCEPTED
from packshot.render.limits import Limits
from packshot.render.stripping.pieces import Piece, check_pieces, edited_in_place, length_of
from packshot.render.stripping.strip import MAX_INSERTED_BYTES, strip
from tests.render.formats.test_avif import with_clap
from tests.support.pictures import animated, avif, bmp, display_p3, gif, heic, jpeg, photo, png, tiff, webp

SECRET = b"SECRET"
XMP = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><dc:creator><rdf:Seq><rdf:li>Ann</rdf:li></rdf:Seq></dc:creator>"
    b"SECRET</x:xmpmeta>"
)
GPS, CAMERA, ARTIST, COPYRIGHT, ORIENTATION = 0x8825, 0x010F, 315, 33432, 274


def exif(turn: int = 1) -> Image.Exif:
    data = Image.Exif()
    data.update({ORIENTATION: turn, CAMERA: "SECRET camera", ARTIST: "Ann", COPYRIGHT: "Picture Desk"})
    data.get_ifd(GPS).update({1: "N", 2: (52.0, 31.0, 12.0), 0x1D: "SECRET"})
    data.get_ifd(0x8769)[0x9286] = b"SECRET comment"
    return data


def with_texts() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    info.add_text("Comment", "SECRET")
    info.add_text("Raw", "SECRET" * 100, zip=True)
    return info


def applied(data: bytes, pieces: Sequence[Piece]) -> bytes:
    check_pieces(pieces, len(data), MAX_INSERTED_BYTES)
    parts = [
        data[piece[0] : piece[1]] if isinstance(piece, tuple) else bytes(piece) if isinstance(piece, int) else piece
        for piece in pieces
    ]
    whole = b"".join(parts)
    assert len(whole) == length_of(pieces)
    return whole


def stripped(data: bytes, *, credits: bool = False) -> bytes:
    return applied(data, strip(data, Limits(), credits=credits))


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


TOLD = {"exif": exif(6), "icc_profile": display_p3()}
FILES = {
    "jpeg": jpeg(photo(60, 40), **TOLD, xmp=XMP, comment=b"SECRET"),
    "progressive jpeg": jpeg(photo(60, 40), **TOLD, progressive=True, comment=b"SECRET"),
    "png": png(photo(60, 40), **TOLD, pnginfo=with_texts()),
    "webp": webp(photo(60, 40), **TOLD, xmp=XMP),
    "lossy webp": webp(photo(61, 41), **TOLD, xmp=XMP, lossless=False),
    "avif": avif(photo(60, 40), **TOLD, xmp=XMP),
    "heic": heic(photo(60, 40), **TOLD, xmp=XMP),
    "tiff": tiff(photo(60, 40), **TOLD),
    "compressed tiff": tiff(photo(60, 40), **TOLD, compression="tiff_lzw"),
    "big tiff": tiff(photo(60, 40), **TOLD, big_tiff=True),
}
ANIMATED_FORMATS = {
    "gif": animated("GIF", comment=b"SECRET", loop=2),
    "animated webp": animated("WEBP", exif=exif(), xmp=XMP, loop=3),
    "animated png": animated("PNG", exif=exif(), pnginfo=with_texts(), loop=3),
}


@pytest.mark.parametrize("name", FILES)
def test_metadata_are_removed_while_pixels_orientation_and_colours_stay(name: str) -> None:
    data = FILES[name]
    assert SECRET in data
    result = stripped(data)
    assert SECRET not in result
    before, after = opened(data), opened(result)
    assert after.tobytes() == before.tobytes()
    assert after.info.get("icc_profile") == display_p3()
    assert not after.getexif().get_ifd(GPS)
    assert decode(result, Limits()).size == decode(data, Limits()).size, "upright like the original"
    assert not {ARTIST, COPYRIGHT, CAMERA} & set(after.getexif())
    assert stripped(result) == result, "an original without metadata stays unchanged"


@pytest.mark.parametrize("name", FILES)
def test_credits_stay_if_the_tenant_keeps_them(name: str) -> None:
    result = stripped(FILES[name], credits=True)
    assert SECRET not in result
    kept = opened(result).getexif()
    assert (kept[ARTIST], kept[COPYRIGHT]) == ("Ann", "Picture Desk")
    assert decode(result, Limits()).size == decode(FILES[name], Limits()).size


@pytest.mark.parametrize("name", ANIMATED_FORMATS)
def test_animations_keep_frames_durations_and_repetitions(name: str) -> None:
    data = ANIMATED_FORMATS[name]
    assert SECRET in data
    result = stripped(data)
    assert SECRET not in result
    before, after = Image.open(BytesIO(data)), Image.open(BytesIO(result))
    assert [getattr(image, "n_frames", 1) for image in (before, after)] == [3, 3]
    for frame in range(3):
        before.seek(frame)
        after.seek(frame)
        assert after.tobytes() == before.tobytes()
        assert after.info.get("duration") == before.info.get("duration")
    assert after.info.get("loop") == before.info.get("loop")


def iptc_creator(data: bytes) -> Any:
    image = opened(data)
    assert isinstance(image, ImageFile.ImageFile)
    return (IptcImagePlugin.getiptcinfo(image) or {}).get((2, 80))


def test_credits_of_iptc_and_xmp_stay_too() -> None:
    block = b"\x1c\x02\x50\x00\x03Eve" + b"\x1c\x02\x74\x00\x06Agency" + b"\x1c\x02\x19\x00\x06SECRET"
    resource = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(block)) + block + bytes(len(block) & 1)
    plain = jpeg(photo(30, 20))
    data = plain[:2] + b"\xff\xed" + struct.pack(">H", len(resource) + 2) + resource + plain[2:]
    assert iptc_creator(data) == b"Eve"
    result = stripped(data, credits=True)
    assert (SECRET in data, SECRET in result) == (True, False)
    kept = opened(result).getexif()
    assert (kept[ARTIST], kept[COPYRIGHT]) == ("Eve", "Agency")
    assert b"Photoshop" not in stripped(data)
    told = tiff(photo(30, 20), tiffinfo={700: XMP, 270: "SECRET"})
    result = stripped(told, credits=True)
    assert (SECRET in told, SECRET in result) == (True, False)
    assert opened(result).getexif()[ARTIST] == "Ann"


@pytest.mark.parametrize("told", [{}, {"big_tiff": True}, {"compression": "tiff_lzw"}], ids=str)
def test_credits_and_orientation_in_xmp_stay_in_a_tiff(told: dict[str, object]) -> None:
    xmp = (
        b"<x:xmpmeta tiff:Orientation='6' photoshop:Credit='Agency'>SECRET"
        b"<dc:creator><rdf:Seq><rdf:li>Ann</rdf:li></rdf:Seq></dc:creator>"
        b"<dc:rights><rdf:Alt><rdf:li>Picture Desk</rdf:li></rdf:Alt></dc:rights></x:xmpmeta>"
    )
    # The directory has too little room for all tags.
    data = tiff(photo(60, 40), **told, tiffinfo={700: xmp})
    result = stripped(data, credits=True)
    assert SECRET not in result
    assert (shown(result), len(result)) == (shown(data), len(data))
    kept = opened(result).getexif()
    assert (kept[ARTIST], kept[COPYRIGHT]) == ("Ann / Agency", "Picture Desk")
    assert decode(result, Limits()).size == (40, 60)


def test_data_that_phones_append_are_removed() -> None:
    second = jpeg(photo(20, 20), exif=exif())
    data = jpeg(photo(60, 40)) + second + b"MotionPhoto_Data SECRET"
    result = stripped(data)
    assert SECRET not in result
    assert result.count(b"\xff\xd8\xff") == 1
    assert opened(result).tobytes() == opened(data).tobytes()
    for whole in (png(photo(9, 9)), webp(photo(9, 9)), gif(photo(9, 9))):
        assert stripped(whole + b"SECRET") == whole
    phone = FILES["heic"] + struct.pack(">I", 14) + b"mpvd" + SECRET
    assert SECRET not in stripped(phone)
    assert opened(stripped(phone)).tobytes() == opened(phone).tobytes()


def test_the_thumbnail_of_a_jpeg_is_removed() -> None:
    plain = jpeg(photo(30, 20))
    jfif = plain[4:20]
    assert jfif[2:7] == b"JFIF\0"
    thumbnail = SECRET * 2
    fat = struct.pack(">H", 16 + len(thumbnail)) + jfif[2:14] + b"\x02\x02" + thumbnail
    data = plain[:4] + fat + plain[20:]
    assert opened(data).size == (30, 20)
    assert stripped(data) == plain


def test_an_orientation_in_xmp_stays() -> None:
    told = b"<x:xmpmeta tiff:Orientation='6'>SECRET</x:xmpmeta>"
    for data in (
        jpeg(photo(60, 40), xmp=told),
        webp(photo(60, 40), xmp=told),
        tiff(photo(60, 40), tiffinfo={700: told}),
    ):
        assert decode(data, Limits()).size == (40, 60)
        result = stripped(data)
        assert SECRET not in result
        assert decode(result, Limits()).size == (40, 60)


def test_a_bmp_loses_bytes_outside_its_image() -> None:
    data = bmp(photo(20, 10))
    assert stripped(data) == data
    offset = struct.unpack_from("<I", data, 10)[0]
    hidden = data[:10] + struct.pack("<I", offset + 6) + data[14:offset] + SECRET + data[offset:] + SECRET
    result = stripped(hidden)
    assert SECRET not in result
    assert len(result) == len(hidden)
    assert opened(result).tobytes() == opened(data).tobytes()


def test_a_bmp_keeps_all_its_runs() -> None:
    runs = b"\4\1\0\3\2\3\2\0\0\0" + b"\3\2\0\2\4\0\0\0" + b"\0\1"
    colours = bytes(range(16)) + bytes(1008)
    info = struct.pack("<IiiHHIIiiII", 40, 7, 2, 1, 8, 1, 0, 0, 0, 0, 0)
    whole = b"BM" + struct.pack("<III", 0, 0, 54 + len(colours)) + info + colours + runs
    assert stripped(whole) == whole
    assert stripped(whole + SECRET) == whole + bytes(6)
    assert decode(whole, Limits()).size == (7, 2)


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    found = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", found)


PLAIN_PNG, PLAIN_WEBP = png(photo(30, 20)), webp(photo(30, 20))
PIXELS = PLAIN_PNG.index(b"IDAT") - 4
BROKEN_METADATA = {
    "text with a wrong checksum": PLAIN_PNG[:PIXELS] + chunk(b"tEXt", b"a\0SECRET", 1) + PLAIN_PNG[PIXELS:],
    "text of 64 MiB": PLAIN_PNG[:PIXELS] + chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26))) + PLAIN_PNG[PIXELS:],
    "EXIF with a wrong checksum": PLAIN_PNG[:-12] + chunk(b"eXIf", b"SECRET", 1) + PLAIN_PNG[-12:],
    "a chunk longer than the file": PLAIN_PNG[:-12] + struct.pack(">I", 2**31 - 1) + b"tEXtSECRET",
    "texts in chunks of one length": PLAIN_PNG[:PIXELS]
    + b"".join(chunk(kind, b"SECRETSECRET") for kind in (b"pHYs", b"bKGD", b"sBIT", b"cICP", b"acTL", b"fdAT"))
    + PLAIN_PNG[PIXELS:],
    "text in the end chunk": PLAIN_PNG[:-12] + chunk(b"IEND", b"SECRET"),
    "a WebP chunk longer than the file": PLAIN_WEBP + b"EXIF" + struct.pack("<I", 9999) + b"SECRET",
    "a WebP chunk beyond the announced length": PLAIN_WEBP[:4]
    + struct.pack("<I", len(PLAIN_WEBP) + 10)
    + PLAIN_WEBP[8:]
    + b"EXIF"
    + struct.pack("<I", 99)
    + b"SECRET",
    "a JPEG segment longer than the file": jpeg(photo(30, 20))[:-2] + b"\xff\xe1\xff\xffSECRET",
    "a trailer that is not a box": heic(photo(30, 20)) + b"SECRET" * 3,
    "a short trailer that is not a box": avif(photo(30, 20)) + b"SECRET",
    "media data of no item": avif(photo(30, 20)) + struct.pack(">I", 14) + b"mdat" + b"SECRET",
}


@pytest.mark.parametrize("name", BROKEN_METADATA)
def test_broken_metadata_are_removed_and_do_not_refuse_an_original(name: str) -> None:
    data = BROKEN_METADATA[name]
    shown = decode(data, Limits()).picture
    result = stripped(data)
    assert SECRET not in result
    assert decode(result, Limits()).picture.tobytes() == shown.tobytes()
    assert opened(result).size == shown.size, "other readers can read it now"


def segment(kind: int, body: bytes, length: int | None = None) -> bytes:
    return bytes((0xFF, kind)) + struct.pack(">H", len(body) + 2 if length is None else length) + body


PLAIN_JPEG = jpeg(photo(30, 20))
SHORT_PLACES = [2, PLAIN_JPEG.index(b"\xff\xdb"), PLAIN_JPEG.index(b"\xff\xda"), len(PLAIN_JPEG) - 2]


@pytest.mark.parametrize("length", [0, 1, 2])
@pytest.mark.parametrize("kind", [0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xEF, 0xFE])
def test_an_empty_jpeg_segment_is_removed_and_does_not_refuse_an_original(kind: int, length: int) -> None:
    for place in SHORT_PLACES:
        data = PLAIN_JPEG[:place] + segment(kind, b"", length) + PLAIN_JPEG[place:]
        probe(data, Limits())
        assert stripped(data) == PLAIN_JPEG


def test_texts_between_and_after_the_segments_of_a_jpeg_are_removed() -> None:
    scan = PLAIN_JPEG.index(b"\xff\xda")
    for place in (20, scan, len(PLAIN_JPEG)):
        for text in (SECRET, segment(0xDC, SECRET), segment(0xDF, SECRET), segment(0xE2, b"ICC_PROFILE\0" + SECRET)):
            data = PLAIN_JPEG[:place] + text + PLAIN_JPEG[place:]
            assert stripped(data) == PLAIN_JPEG


SOUND = display_p3()
ENCODERS = [jpeg, png, webp, avif, heic, tiff]


@pytest.mark.parametrize("encode", ENCODERS)
@pytest.mark.parametrize(
    "profile",
    [SECRET * 50, SOUND[:40] + SECRET * 40, SOUND[:36] + b"nope" + SECRET * 100, SECRET * 20_000],
    ids=["text", "a header alone", "no signature", "long text"],
)
def test_an_invalid_profile_is_removed(encode: Callable[..., bytes], profile: bytes) -> None:
    data = encode(photo(60, 40), icc_profile=profile)
    result = stripped(data)
    assert SECRET not in result
    assert not opened(result).info.get("icc_profile", b"").strip(b"\0")
    assert shown(result) == shown(data)
    assert stripped(result) == result


@pytest.mark.parametrize("encode", ENCODERS)
@pytest.mark.parametrize("text", [SECRET, SECRET * 11_000])
def test_data_after_a_profile_are_removed_and_the_profile_stays(encode: Callable[..., bytes], text: bytes) -> None:
    data = encode(photo(60, 40), icc_profile=SOUND + text)
    result = stripped(data)
    assert SECRET not in result
    assert opened(result).info["icc_profile"].rstrip(b"\0") == SOUND.rstrip(b"\0")
    assert shown(result) == shown(data)
    assert stripped(result) == result


def test_a_jpeg_profile_of_several_parts_keeps_their_order() -> None:
    half = len(SOUND) // 2
    parts = [b"ICC_PROFILE\0" + bytes((1, 2)) + SOUND[:half], b"ICC_PROFILE\0" + bytes((2, 2)) + SOUND[half:]]
    for order in (parts, parts[::-1]):
        data = PLAIN_JPEG[:20] + b"".join(segment(0xE2, part) for part in order) + PLAIN_JPEG[20:]
        assert stripped(data) == data
    for lacking in parts:
        assert stripped(PLAIN_JPEG[:20] + segment(0xE2, lacking) + PLAIN_JPEG[20:]) == PLAIN_JPEG


def test_a_valid_profile_of_a_gif_or_bmp_stays() -> None:
    plain = gif(photo(30, 20))
    at = 13 + 3 * (2 << (plain[10] & 7))
    for profile in (SOUND, SECRET * 3):
        blocks = b"".join(
            bytes((len(profile[i : i + 255]),)) + profile[i : i + 255] for i in range(0, len(profile), 255)
        )
        data = plain[:at] + b"\x21\xff\x0bICCRGBG1012" + blocks + b"\0" + plain[at:]
        assert stripped(data) == (data if profile is SOUND else plain)
        old = bmp(photo(30, 20))
        info = struct.pack("<I", 124) + old[18:54] + bytes(16) + b"DEBM" + bytes(36) + bytes(12)
        info += struct.pack("<IIII", 0, 124 + len(old) - 54, len(profile), 0)
        new = b"BM" + struct.pack("<III", 0, 0, 14 + len(info)) + info + old[54:] + profile
        assert len(info) == 124
        assert opened(new).tobytes() == opened(old).tobytes()
        assert stripped(new) == (new if profile is SOUND else new[: -len(profile)] + bytes(len(profile)))


def shown(data: bytes) -> bytes:
    decoded = decode(data, Limits())
    return decoded.shown(decoded.picture).tobytes()


def with_chunk(data: bytes, made: bytes, before: bytes = b"IDAT") -> bytes:
    at = data.index(before) - 4
    return data[:at] + made + data[at:]


def profile_chunk(name: bytes, profile: bytes, behind: bytes = b"") -> bytes:
    return chunk(b"iCCP", name + b"\0\0" + zlib.compress(profile) + behind)


PNG_TEXTS = {
    "an unknown critical chunk": chunk(b"ABCd", SECRET),
    "an unknown critical chunk of a reserved kind": chunk(b"SECr", SECRET),
    "a palette that is only suggested": chunk(b"PLTE", SECRET * 3),
    "the name of a profile": profile_chunk(SECRET, SOUND),
    "text after a profile's compressed data": profile_chunk(b"ICC Profile", SOUND, SECRET),
    "text after a profile": chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(SOUND + SECRET, 0)),
    "an invalid profile": chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(SECRET, 0)),
    "a second profile": profile_chunk(b"ICC Profile", SOUND) + profile_chunk(SECRET, SOUND),
    "a second density": chunk(b"pHYs", bytes(9)) + chunk(b"pHYs", b"SECRETxyz"),
    "transparency of a wrong length": chunk(b"tRNS", SECRET * 2),
    "a gamma and an invalid profile": chunk(b"gAMA", struct.pack(">I", 90_000))
    + chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(SECRET, 0))
    + chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 60000, 33000, 21000, 71000, 15000, 6000)),
    "a gamma after a suggested palette": chunk(b"PLTE", SECRET) + chunk(b"gAMA", struct.pack(">I", 90_000)),
}


@pytest.mark.parametrize("name", PNG_TEXTS)
def test_texts_in_png_chunks_are_removed_while_colours_stay(name: str) -> None:
    data = with_chunk(PLAIN_PNG, PNG_TEXTS[name])
    assert SECRET in data
    result = stripped(data)
    assert SECRET not in result
    assert shown(result) == shown(data)
    assert stripped(result) == result


def test_text_in_a_png_header_is_removed() -> None:
    data = PLAIN_PNG[:8] + chunk(b"IHDR", PLAIN_PNG[16:29] + SECRET) + PLAIN_PNG[33:]
    assert stripped(data) == PLAIN_PNG
    with pytest.raises(PackshotError):
        strip(with_chunk(PLAIN_PNG, PLAIN_PNG[8:33]), Limits(), credits=False)


@pytest.mark.parametrize("encode", [avif, heic])
@pytest.mark.parametrize("kind", [b"udes", b"uuid", b"altt"])
def test_descriptive_item_properties_are_removed(encode: Callable[..., bytes], kind: bytes) -> None:
    data = with_clap(encode(photo(60, 40)), (60, 1), (40, 1))
    at = data.rindex(b"clap")
    data = data[:at] + kind + SECRET * 5 + data[at + 34 :]
    links = data.rindex(b"ipma")
    # The property is no longer essential for the first item.
    last = links + 14 + data[links + 14]
    data = data[:last] + bytes((data[last] & 0x7F,)) + data[last + 1 :]
    result = stripped(data)
    assert SECRET not in result
    assert shown(result) == shown(data)


def tags_of(data: bytes) -> dict[int, int]:
    """Return the position of each tag in a little-endian TIFF's directory."""
    (at,) = struct.unpack_from("<I", data, 4)
    return {
        struct.unpack_from("<H", data, entry)[0]: entry
        for entry in range(at + 2, at + 2 + 12 * struct.unpack_from("<H", data, at)[0], 12)
    }


def with_value(data: bytes, tag: int, *, count: int | None = None, value: int | None = None) -> bytes:
    """Return a little-endian TIFF with another count or value of a tag."""
    entry, changed = tags_of(data)[tag], bytearray(data)
    if count is not None:
        struct.pack_into("<I", changed, entry + 4, count)
    if value is not None:
        struct.pack_into("<I", changed, entry + 8, value)
    return bytes(changed)


def with_pointer(data: bytes, value: int) -> bytes:
    """Return a little-endian TIFF in which a GPS pointer replaces the XMP tag."""
    changed = bytearray(data)
    struct.pack_into("<HHII", changed, tags_of(data)[700], GPS, 4, 1, value)
    return bytes(changed)


def odd_tiffs() -> dict[str, bytes]:
    """Return TIFFs with wrong ranges of metadata, or with metadata in unreachable places."""
    told = tiff(photo(60, 40), tiffinfo={700: XMP, 270: "SECRET"})
    at = struct.unpack_from("<I", told, 8 + tags_of(told)[700])[0]
    directory = struct.unpack_from("<I", told, 4)[0]
    # As tag editors leave it: a new directory without the texts at the end, and the old one still in the file.
    entries = [told[at : at + 12] for tag, at in tags_of(told).items() if tag not in (700, 270)]
    moved = bytearray(told + struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4))
    struct.pack_into("<I", moved, 4, len(told))
    return {
        "text after the image": told + SECRET * 3,
        "a value that claims the whole image": with_value(told, 700, count=len(told) - at),
        "a value that claims more than the file": with_value(told, 700, count=len(told)),
        "an old directory": bytes(moved),
        "a GPS pointer outside the file": with_pointer(told, len(told) + 100),
        "a GPS pointer into the image": with_pointer(told, len(told) // 2),
        "a GPS pointer to its own directory": with_pointer(told, directory),
    }


@pytest.mark.parametrize("data", odd_tiffs().values(), ids=odd_tiffs().keys())
def test_a_tiff_keeps_only_what_its_image_needs(data: bytes) -> None:
    assert SECRET in data
    result = stripped(data)
    assert SECRET not in result
    assert decode(result, Limits()).picture.tobytes() == decode(data, Limits()).picture.tobytes()
    assert len(result) == len(data)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"compression": "tiff_lzw"},
        {"compression": "jpeg"},
        {"compression": "tiff_adobe_deflate", "big_tiff": True},
        {"strip_size": 500},
    ],
    ids=str,
)
def test_strips_of_a_tiff_stay_to_the_last_byte(told: dict[str, object]) -> None:
    data = tiff(photo(61, 41), **told, exif=exif())
    assert opened(stripped(data)).tobytes() == opened(data).tobytes()


def test_the_length_of_an_uncompressed_strip_cannot_hide_text() -> None:
    data = tiff(photo(60, 40), compression=None) + SECRET * 100
    longer = with_value(data, 279, value=60 * 40 * 3 + 600)
    assert SECRET not in stripped(longer)
    assert opened(stripped(longer)).tobytes() == opened(data).tobytes()


def test_a_directory_within_the_samples_is_refused() -> None:
    data = tiff(photo(60, 40), **TOLD)
    within = with_value(data, 273, value=8)
    with pytest.raises(Unrenderable):
        strip(within, Limits(), credits=False)


def test_texts_in_a_gif_are_removed_while_its_repetitions_stay() -> None:
    data = animated("GIF", loop=2)
    at = data.index(b"!\xff\x0bNETSCAPE2.0")
    end = at + 19
    text = b"!\x01\x0c" + bytes(12) + b"\x06SECRET\0"
    result = stripped(data[: end - 1] + b"\x06SECRET\0" + text + data[end:])
    assert result == stripped(data)
    assert b"NETSCAPE2.0\x03\x01\x02\0\0" in result


@pytest.mark.parametrize("name", [*FILES, *ANIMATED_FORMATS])
def test_damaged_files_are_refused_or_lose_their_metadata(name: str) -> None:
    data = (FILES | ANIMATED_FORMATS)[name]
    chance = random.Random(name)  # noqa: S311
    for _ in range(60):
        broken = bytearray(data)
        for _ in range(chance.randrange(1, 4)):
            broken[chance.randrange(2, min(len(broken), 2000))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
        if chance.random() < 0.3:
            del broken[chance.randrange(len(broken) // 2, len(broken)) :]
        try:
            result = stripped(bytes(broken))
        except PackshotError:
            continue
        assert SECRET not in result


def test_a_file_with_indistinguishable_parts_is_refused() -> None:
    for data, at, length in (
        (FILES["png"], FILES["png"].index(b"IDAT") - 4, 4),
        (FILES["heic"], FILES["heic"].index(b"iinf") - 4, 4),
    ):
        broken = data[:at] + b"\x7f" * length + data[at + length :]
        with pytest.raises((Unrenderable, PackshotError)):
            strip(broken, Limits(), credits=False)


def test_ranges_that_overlap_or_lie_outside_are_refused() -> None:
    assert edited_in_place(10, [(2, 5, b"ab"), (7, 8, b"")]) == [(0, 2), b"ab", 1, (5, 7), 1, (8, 10)]
    for edits in ([(0, 5, b""), (4, 6, b"")], [(8, 11, b"")], [(-2, 1, b"")]):
        with pytest.raises(ValueError, match="overwritten"):
            edited_in_place(10, edits)
    bad: list[list[Piece]] = [[(5, 11)], [(5, 7), (6, 8)], [b"x" * 9], [(3, 3)], [-1], [11]]
    for pieces in bad:
        with pytest.raises(ValueError, match="expected"):
            check_pieces(pieces, 10, 8)


def test_every_accepted_format_can_be_stripped() -> None:
    sources = {"jpeg": jpeg, "png": png, "webp": webp, "avif": avif, "gif": gif, "tiff": tiff, "bmp": bmp, "heic": heic}
    for format in ACCEPTED:
        data = sources[format](photo(16, 16))
        assert opened(stripped(data)).tobytes() == opened(data).tobytes(), format
