"""Each TIFF layout is decoded correctly or refused by name, and damaged parts are noticed."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from packshot.errors import PackshotError, Unrenderable, UnsupportedMedia
from packshot.render.decoding.decode import decode
from packshot.render.drawing.probe import probe
from packshot.render.limits import Limits
from packshot.render.revision import DecodeRevision
from tests.support import pictures
from tests.support.tiff_writer import (
    DEFLATE,
    LONG,
    LZMA,
    LZW,
    NONE,
    OLD_DEFLATE,
    PACKBITS,
    SHORT,
    Order,
    Samples,
    file,
    tiff,
)

LIMITS = Limits()
HEIGHT, WIDTH = 18, 21
# Values of each channel from 0 to 1, including black and white.
VALUES = np.random.default_rng(5).random((HEIGHT, WIDTH, 6))
VALUES[0, :2] = [[0.0], [1.0]]

OTHER, PREMULTIPLIED, ALPHA = 0, 1, 2
REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


@dataclass(frozen=True)
class Kind:
    """The channels of a pixel: tag 262, the number of colours, and tag 338."""

    photometric: int
    colours: int
    extras: tuple[int, ...] = ()


KINDS = {
    "grey": Kind(1, 1),
    "grey, 0 is white": Kind(0, 1),
    "grey, alpha": Kind(1, 1, (ALPHA,)),
    "grey, 0 is white, alpha": Kind(0, 1, (ALPHA,)),
    "grey, premultiplied alpha": Kind(1, 1, (PREMULTIPLIED,)),
    "grey, other": Kind(1, 1, (OTHER,)),
    "RGB": Kind(2, 3),
    "RGB, alpha": Kind(2, 3, (ALPHA,)),
    "RGB, premultiplied alpha": Kind(2, 3, (PREMULTIPLIED,)),
    "RGB, other": Kind(2, 3, (OTHER,)),
    "RGB, alpha, other": Kind(2, 3, (ALPHA, OTHER)),
    "palette": Kind(3, 1),
    "palette, alpha": Kind(3, 1, (ALPHA,)),
    "palette, other": Kind(3, 1, (OTHER,)),
    "CMYK": Kind(5, 4),
    "CMYK, alpha": Kind(5, 4, (ALPHA,)),
    "CMYK, other": Kind(5, 4, (OTHER,)),
    "YCbCr": Kind(6, 3),
    "Lab": Kind(8, 3),
    "ICC Lab": Kind(9, 3),
    "mask": Kind(4, 1),
}
# numpy's type, and the bits per sample.
TYPES = [("u1", 1), ("u1", 2), ("u1", 4), ("u1", 8), ("u2", 12), ("u2", 16), ("u4", 32), ("u8", 64)]
TYPES += [("i1", 8), ("i2", 16), ("i4", 32), ("f2", 16), ("f4", 32), ("f8", 64)]
# Tags 259 and 317.
CODECS = [(codec, 1) for codec in (NONE, LZW, DEFLATE, PACKBITS, OLD_DEFLATE, LZMA)]
CODECS += [(LZW, 2), (DEFLATE, 2), (DEFLATE, 3)]

Tags = dict[int, tuple[int, list[int]]]


def written(kind: Kind, name: str, bits: int) -> tuple[Samples, npt.NDArray[np.float64], Tags]:
    """Return samples, their expected RGBA values from 0 to 255, and further tags."""
    type_ = np.dtype(name)
    values = VALUES[..., : kind.colours + len(kind.extras)].copy()
    alpha = np.ones((HEIGHT, WIDTH, 1))
    if kind.extras[:1] == (PREMULTIPLIED,):
        values[..., kind.colours] = 0.5 + values[..., kind.colours] / 2
        values[..., : kind.colours] *= values[..., kind.colours : kind.colours + 1]
    if type_.kind == "f":
        samples = values.astype(type_)
        shown = samples.astype(np.float64)
    else:
        highest = 2 ** (bits - (type_.kind == "i")) - 1
        samples = np.minimum(np.rint(values * highest), highest * (1 - 2**-52)).astype(type_)
        shown = samples / highest
    colours = shown[..., : kind.colours]
    if kind.extras[:1] in ((ALPHA,), (PREMULTIPLIED,)):
        alpha = shown[..., kind.colours : kind.colours + 1]
    if kind.extras[:1] == (PREMULTIPLIED,):
        colours = np.clip(colours / np.maximum(alpha, 0.1), 0, 1)
    tags: Tags = {}
    match kind.photometric:
        case 0:
            colours = np.repeat(1 - colours, 3, axis=2)
        case 1 | 4:
            colours = np.repeat(colours, 3, axis=2)
        case 3 if type_.kind == "u" and bits <= 8:
            table = np.random.default_rng(2).integers(0, 256, (3, 2**bits)) * 257
            tags[320] = (SHORT, [int(value) for value in table.reshape(-1)])
            colours = np.moveaxis(table[:, samples[..., 0].astype(int)], 0, -1) / 65535
        case 6:
            # Chroma is not subsampled; by ITU-R BT.601.
            tags[530] = (SHORT, [1, 1])
            luminance, blue, red = (colours[..., channel] - (0.5 if channel else 0) for channel in range(3))
            green = luminance - 0.344136 * blue - 0.714136 * red
            colours = np.clip(np.stack([luminance + 1.402 * red, green, luminance + 1.772 * blue], axis=2), 0, 1)
        case 5:
            colours = (1 - colours[..., :3]) * (1 - colours[..., 3:4])
    return samples, np.concatenate([colours[..., :3], alpha], axis=2) * 255, tags


def variants(kind: Kind, name: str, bits: int, codecs: list[tuple[int, int]]) -> Iterator[tuple[str, bytes]]:
    """Yield files with these samples, each with a label."""
    samples, _, tags = written(kind, name, bits)
    type_ = np.dtype(name)
    orders: tuple[Order, ...] = ("<", ">")
    for planar, order, (compression, predictor), tile in product((1, 2), orders, codecs, (0, 16)):
        is_float = type_.kind == "f"
        fits = (
            predictor == 1 or (predictor == 3 and is_float) or (predictor == 2 and not is_float and bits in (8, 16, 32))
        )
        if fits and (planar == 1 or samples.shape[2] > 1):
            yield (
                f"planar {planar}, {order}, compression {compression}, predictor {predictor}, tile {tile}",
                tiff(
                    samples,
                    photometric=kind.photometric,
                    bits=bits if bits < type_.itemsize * 8 else None,
                    planar=planar,
                    order=order,
                    compression=compression,
                    predictor=predictor,
                    tile=tile,
                    rows=0 if tile else 7,
                    extra=kind.extras,
                    tags=tags,
                ),
            )


def shown(data: bytes) -> npt.NDArray[np.float64]:
    decoded = decode(data, LIMITS)
    return np.asarray(decoded.shown(decoded.picture).convert("RGBA")).astype(np.float64)


@pytest.mark.parametrize("name", KINDS)
def test_every_layout_is_decoded_correctly_or_refused_by_name(name: str) -> None:
    kind = KINDS[name]
    outcomes: Counter[tuple[str, int, str]] = Counter()
    for type_, bits in TYPES:
        _, expected, _ = written(kind, type_, bits)
        # A refusal comes before decoding, so a few files of a refused kind suffice.
        plain = dict(variants(kind, type_, bits, [(NONE, 1), (DEFLATE, 1)]))
        is_read = any(not isinstance(outcome(data), UnsupportedMedia) for data in plain.values())
        for label, data in variants(kind, type_, bits, CODECS) if is_read else plain.items():
            result = outcome(data)
            if isinstance(result, PackshotError):
                assert isinstance(result, UnsupportedMedia), (label, type_, bits, result.got)
                assert str(result.got).startswith("unsupported: "), (label, type_, bits, result.got)
                outcomes[type_, bits, "refused"] += 1
                continue
            outcomes[type_, bits, "read"] += 1
            if kind.photometric == 8:
                expected = lab_as_rgba(written(kind, type_, bits)[0])
            seen = expected[..., 3] > 0
            difference = np.abs(result - expected)
            # 16 bits are cut to 8 before they are multiplied or divided.
            most = 2.0 + (bits == 16 and kind.photometric == 5) + 2 * (PREMULTIPLIED in kind.extras)
            assert difference[..., 3].max() <= 1, (label, type_, bits)
            assert difference[seen].max() <= most, (label, type_, bits)
    read = {(type_, bits) for type_, bits, result in outcomes if result == "read"}
    assert read == {TYPES[number] for number in READ.get(name, ())}


# The `TYPES` that are read in at least one layout.
READ = {
    "grey": [0, 1, 2, 3, 4, 5, 6, 10, 12],
    "grey, 0 is white": [0, 1, 2, 3, 4, 5, 12],
    "grey, alpha": [3, 5],
    "grey, premultiplied alpha": [3, 5],
    "grey, other": [3, 5],
    "RGB": [3, 5],
    "RGB, alpha": [3, 5],
    "RGB, premultiplied alpha": [3, 5],
    "RGB, other": [3, 5],
    "RGB, alpha, other": [3],
    "palette": [0, 1, 2, 3],
    "palette, alpha": [3],
    "palette, other": [3],
    "CMYK": [3, 5],
    "CMYK, other": [3, 5],
    "YCbCr": [3],
    "Lab": [3],
}


def outcome(data: bytes) -> npt.NDArray[np.float64] | PackshotError:
    try:
        return shown(data)
    except PackshotError as refusal:
        return refusal


def lab_as_rgba(samples: Samples) -> npt.NDArray[np.float64]:
    # Compare with the simplest file, whose colours another test checks.
    return shown(pictures.tiff(Image.frombytes("LAB", (WIDTH, HEIGHT), samples.tobytes())))


def jpeg_parts(photometric: int, *parts: bytes, compression: int = 7, **tags: tuple[int, list[int]]) -> bytes:
    planes = len(parts)
    size = Image.open(BytesIO(parts[0])).size
    channels = max(planes, len(Image.open(BytesIO(parts[0])).getbands()))
    entries = {
        256: (LONG, [size[0]]),
        257: (LONG, [size[1]]),
        258: (SHORT, [8] * channels),
        259: (SHORT, [compression]),
        262: (SHORT, [photometric]),
        277: (SHORT, [channels]),
        278: (LONG, [size[1]]),
        284: (SHORT, [2 if planes > 1 else 1]),
    }
    return file(entries | {int(name[1:]): values for name, values in tags.items()}, parts)


PHOTO = pictures.photo(48, 32)
GREY = PHOTO.convert("L")
HALF_COLOUR: dict[str, Any] = {"t530": (SHORT, [2, 2])}
FULL_COLOUR: dict[str, Any] = {"t530": (SHORT, [1, 1])}


@pytest.mark.parametrize(
    ("data", "is_changed"),
    [
        (tiff(np.zeros((9, 9, 3), np.uint16), photometric=2, planar=2), True),
        (tiff(np.zeros((9, 9, 1), np.float32), photometric=1, order=">", compression=DEFLATE), True),
        (tiff(np.zeros((9, 9, 1), np.uint32), photometric=1), True),
        (tiff(np.zeros((9, 9, 3), np.uint8), photometric=6, tags={530: (SHORT, [1, 1])}), True),
        (tiff(np.zeros((9, 9, 3), np.uint16), photometric=2, planar=2, compression=DEFLATE), False),
        (tiff(np.zeros((9, 9, 1), np.float32), photometric=1, order=">"), False),
        (tiff(np.zeros((9, 9, 3), np.uint8), photometric=2, planar=2), False),
        (pictures.tiff(pictures.photo(9, 9)), False),
    ],
)
def test_only_layouts_that_were_decoded_wrongly_get_other_keys(data: bytes, is_changed: bool) -> None:
    assert probe(data, LIMITS).decode_revision == (DecodeRevision.TIFF_LAYOUT if is_changed else DecodeRevision.FIRST)


LUMINANCE = np.asarray(PHOTO.convert("YCbCr"))


@pytest.mark.parametrize(
    ("data", "picture"),
    [
        (jpeg_parts(1, pictures.jpeg(GREY, quality=95)), GREY),
        (jpeg_parts(2, pictures.jpeg(PHOTO, quality=95, keep_rgb=True)), PHOTO),
        (jpeg_parts(6, pictures.jpeg(PHOTO, quality=95, subsampling=0), **FULL_COLOUR), PHOTO),
        (jpeg_parts(6, pictures.jpeg(PHOTO, quality=95, subsampling=2), **HALF_COLOUR), PHOTO),
        (jpeg_parts(2, *(pictures.jpeg(band, quality=95) for band in PHOTO.split())), PHOTO),
        (jpeg_parts(6, pictures.jpeg(PHOTO, quality=95, subsampling=0), compression=6, **FULL_COLOUR), PHOTO),
        (tiff(LUMINANCE, photometric=6, order=">", compression=LZW, tags={530: (SHORT, [1, 1])}), PHOTO),
        (tiff(LUMINANCE, photometric=6, tile=16, tags={530: (SHORT, [1, 1])}), PHOTO),
        (pictures.tiff(PHOTO, compression="zstd"), PHOTO),
        (pictures.tiff(PHOTO.convert("CMYK"), compression="jpeg", quality=95), PHOTO),
    ],
    ids=["grey", "RGB", "4:4:4", "4:2:0", "planar", "old-style", "YCbCr, LZW", "YCbCr, tiled", "Zstandard", "CMYK"],
)
def test_jpeg_and_ycbcr_in_a_tiff_are_decoded_correctly(data: bytes, picture: Image.Image) -> None:
    probe(data, LIMITS)
    assert np.abs(shown(data) - np.asarray(picture.convert("RGBA"))).mean() < 6


@pytest.mark.parametrize("samples", [np.asarray(GREY)[..., None], np.asarray(PHOTO)], ids=["grey", "RGB"])
def test_reversed_bits_are_decoded_correctly(samples: Samples) -> None:
    plain = tiff(samples, photometric=1 if samples.shape[2] == 1 else 2, tags={266: (SHORT, [2])})
    length = samples.size
    data = plain[:8] + plain[8 : 8 + length].translate(REVERSED) + plain[8 + length :]
    assert (shown(data)[..., :3] == samples).all()


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        ({259: (SHORT, [33003])}, "8-bit RGB, JPEG 2000"),
        ({259: (SHORT, [34887])}, "8-bit RGB, LERC"),
        ({259: (SHORT, [40000])}, "8-bit RGB, compression 40000"),
        ({258: (SHORT, [5, 6, 5])}, "5/6-bit RGB, no compression"),
        ({262: (SHORT, [4711])}, "8-bit photometric 4711, no compression"),
        ({339: (SHORT, [4, 4, 4])}, "8-bit format 4 RGB, no compression"),
        ({259: (SHORT, [5]), 317: (SHORT, [3])}, "8-bit RGB, LZW with predictor 3"),
        ({258: (SHORT, [12, 12, 12]), 259: (SHORT, [7])}, "12-bit RGB, JPEG"),
    ],
)
def test_an_unsupported_tiff_is_refused_by_name(tags: Tags, name: str) -> None:
    with pytest.raises(UnsupportedMedia) as refused:
        probe(tiff(np.asarray(PHOTO), photometric=2, tags=tags), LIMITS)
    assert refused.value.got == f"unsupported: {name}"
    assert refused.value.expected


def drawing(seed: int) -> Image.Image:
    """Return a black and white image of lines and dots, whose size depends on the seed."""
    random = np.random.default_rng(seed)
    height, width = int(random.integers(1, 60)), int(random.integers(1, 900))
    changes = random.random((height, width)) < random.choice([0.0, 0.002, 0.05, 0.5])
    return Image.fromarray(np.cumsum(changes, axis=1) % 2 == random.integers(0, 2))


FAX = [("group4", 0), ("group3", 0), ("group3", 1), ("group3", 4), ("group3", 5), ("tiff_ccitt", 0)]


def faxed(picture: Image.Image, compression: str, options: int, rows: int = 2000) -> bytes:
    return pictures.tiff(picture, compression=compression, tiffinfo={278: rows} | ({292: options} if options else {}))


def first_part(data: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(data)) as source:
        return source.tag_v2[273][0], source.tag_v2[279][0]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("compression", "options"), FAX)
def test_valid_faxes_are_accepted(compression: str, options: int) -> None:
    for seed in range(15):
        picture = drawing(seed)
        data = faxed(picture, compression, options, 16)
        probe(data, LIMITS)
        assert decode(data, LIMITS).picture.convert("1").tobytes() == picture.tobytes()


def test_each_tile_of_a_fax_is_checked() -> None:
    tiles = [
        Image.fromarray(np.cumsum(np.random.default_rng(seed).random((64, 64)) < 0.1, axis=1) % 2 == 0)
        for seed in (1, 2)
    ]
    parts = []
    for tile in tiles:
        data = faxed(tile, "group4", 0)
        at, length = first_part(data)
        parts.append(data[at : at + length])
    entries: Tags = {256: (LONG, [128]), 257: (LONG, [64]), 258: (SHORT, [1]), 259: (SHORT, [4]), 262: (SHORT, [1])}
    entries |= {322: (LONG, [64]), 323: (LONG, [64])}
    sound = file(entries, parts, tiled=True)
    probe(sound, LIMITS)
    whole = decode(sound, LIMITS).picture.convert("1")
    assert [whole.crop(box).tobytes() for box in ((0, 0, 64, 64), (64, 0, 128, 64))] == [
        tile.tobytes() for tile in tiles
    ]
    with pytest.raises(Unrenderable):
        probe(file(entries, [parts[0], parts[1][:20] + bytes(len(parts[1]) - 20)], tiled=True), LIMITS)


@pytest.mark.parametrize("damage", ["4 bytes", "end", "start"])
@pytest.mark.parametrize(("compression", "options"), FAX)
def test_a_fax_that_lacks_rows_is_refused(compression: str, options: int, damage: str) -> None:
    lines = np.cumsum(np.random.default_rng(4).random((400, 600)) < 0.02, axis=1) % 2 == 0
    # The end of a page is white, as are the rows that libtiff fills in.
    lines[300:] = True
    data = bytearray(faxed(Image.fromarray(lines), compression, options))
    at, length = first_part(bytes(data))
    probe(bytes(data), LIMITS)
    first, last = {"4 bytes": (length // 3, length // 3 + 4), "end": (length // 2, length), "start": (20, 40)}[damage]
    data[at + first : at + last] = bytes(last - first)
    with pytest.raises(Unrenderable) as refused:
        probe(bytes(data), LIMITS)
    assert "row" in str(refused.value.got)


def test_faxes_with_reversed_bits_are_accepted_and_checked() -> None:
    picture = drawing(2)
    plain = faxed(picture, "group4", 0)
    at, length = first_part(plain)
    entries = {256: (LONG, [picture.width]), 257: (LONG, [picture.height]), 259: (SHORT, [4]), 262: (SHORT, [1])}
    entries |= {266: (SHORT, [2]), 278: (LONG, [picture.height])}
    part = plain[at : at + length].translate(REVERSED)
    data = file(entries, [part])
    probe(data, LIMITS)
    assert decode(data, LIMITS).picture.convert("1").tobytes() == picture.tobytes()
    with pytest.raises(Unrenderable):
        probe(file(entries, [part[: length // 2] + bytes(length // 2)]), LIMITS)


@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("compression", [DEFLATE, OLD_DEFLATE])
def test_a_changed_byte_in_deflated_samples_is_noticed(compression: int, tile: int) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    sound = tiff(noise, photometric=2, compression=compression, tile=tile, rows=8)
    probe(sound, LIMITS)
    # Noise is stored without compression, so a changed byte leaves a readable stream.
    data = bytearray(sound)
    data[len(noise.tobytes()) // 2 : len(noise.tobytes()) // 2 + 4] = b"\0\1\2\3"
    with pytest.raises(Unrenderable, match="damaged"):
        probe(bytes(data), LIMITS)


@pytest.mark.parametrize("compression", ["tiff_lzw", "packbits", "jpeg", "lzma"])
def test_a_truncated_strip_is_noticed(compression: str) -> None:
    data = bytearray(pictures.tiff(PHOTO, compression=compression))
    probe(bytes(data), LIMITS)
    at, length = first_part(bytes(data))
    data[at + length // 2 : at + length] = bytes(length - length // 2)
    with pytest.raises(Unrenderable, match="damaged"):
        probe(bytes(data), LIMITS)


def test_lzma_without_its_last_bytes_is_noticed() -> None:
    sound = tiff(np.asarray(PHOTO), photometric=2, compression=LZMA)
    at, length = first_part(sound)
    probe(sound, LIMITS)
    # libtiff has all samples before the damaged bytes.
    with pytest.raises(Unrenderable, match="damaged"):
        probe(sound[: at + length - 20] + bytes(20) + sound[at + length :], LIMITS)


def text(value: str) -> tuple[int, list[int]]:
    return 2, [*value.encode(), 0]


def small(tags: Tags, second: Tags | None = None) -> bytes:
    """Return a TIFF of 40 x 30 grey pixels."""
    return tiff(np.full((30, 40, 1), 90, np.uint8), photometric=1, tags=tags, second=second)


SENSOR: Tags = {256: (LONG, [64]), 257: (LONG, [48]), 262: (SHORT, [32803])}
REDUCED: Tags = {254: (LONG, [1])}
VERSION: Tags = {50706: (1, [1, 4, 0, 0])}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (small(REDUCED | {271: text("NIKON CORPORATION")}, SENSOR), "Nikon NEF"),
        (small(REDUCED | {271: text("SONY")}, {256: (LONG, [64]), 259: (SHORT, [32767])}), "Sony ARW"),
        (small(REDUCED | VERSION, SENSOR), "DNG"),
        (small(VERSION | {262: (SHORT, [34892])}), "DNG"),
        (small(SENSOR | {271: text("PENTAX Corporation")}), "Pentax PEF"),
        (small(REDUCED | {271: text("Some Camera")}, SENSOR), "Some Camera"),
        (small(REDUCED, {33422: (1, [0, 1, 1, 2])}), "TIFF/EP"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(100), "Canon CR2"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(100), "Canon CR3"),
        (b"IIRO\x08\0\0\0" + bytes(100), "Olympus ORF"),
        (b"IIU\0\x18\0\0\0" + bytes(100), "Panasonic RW2"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(100), "Fujifilm RAF"),
        (b"\0MRM" + bytes(100), "Minolta MRW"),
        (b"FOVb" + bytes(100), "Sigma X3F"),
        (b"II\x1a\0\0\0HEAPCCDR" + bytes(100), "Canon CRW"),
    ],
)
def test_camera_raw_files_are_refused_by_name(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedMedia) as refused:
        probe(data, LIMITS)
    assert refused.value.got == f"camera raw ({name})"
    assert "jpeg, png" in str(refused.value.expected)


def test_a_tiff_with_a_thumbnail_is_decoded_at_full_size() -> None:
    data = small({271: text("NIKON CORPORATION")}, REDUCED | {256: (LONG, [80]), 257: (LONG, [60])})
    assert probe(data, LIMITS).width == 40


def test_a_tiff_that_begins_with_a_thumbnail_is_refused() -> None:
    with pytest.raises(UnsupportedMedia) as refused:
        probe(small(REDUCED, {256: (LONG, [80]), 257: (LONG, [60])}), LIMITS)
    assert refused.value.got == "unsupported: a thumbnail before the image itself"


@pytest.mark.parametrize("place", [1, 7, 2**31, 2**32 - 1])
def test_a_damaged_pointer_to_another_image_is_ignored(place: int) -> None:
    assert probe(tiff(np.asarray(PHOTO), photometric=2, tags={330: (LONG, [place])}), LIMITS).width == 48
