"""Decoded originals are upright, in sRGB, with 8 bits per channel; others are refused with a reason."""

import re
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, TiffTags
from PIL.PngImagePlugin import PngInfo
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from packshot.errors import ErrorCode, PackshotError, TooLarge, Unrenderable, UnsupportedMedia
from packshot.geometry import Box
from packshot.render.decoding.decode import Decoded, Header, decode, inspect
from packshot.render.formats.sniffing import ACCEPTED
from packshot.render.limits import Limits
from tests.support import pictures

LIMITS = Limits()
ENCODERS = {
    "jpeg": pictures.jpeg,
    "png": pictures.png,
    "webp": pictures.webp,
    "avif": pictures.avif,
    "gif": pictures.gif,
    "tiff": pictures.tiff,
    "bmp": pictures.bmp,
    "heic": pictures.heic,
}
TURNED = sorted(ENCODERS.keys() - {"gif", "bmp"})


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    assert one.size == other.size
    assert one.mode == other.mode
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


def upright(data: bytes) -> Image.Image:
    decoded = decode(data, LIMITS)
    return decoded.shown(decoded.picture)


def as_pixel(data: bytes) -> tuple[int, ...]:
    pixel = upright(data).getpixel((0, 0))
    assert isinstance(pixel, tuple)
    return pixel


@pytest.mark.parametrize("format", ENCODERS)
def test_the_header_is_read_without_decoding(format: str) -> None:
    data = ENCODERS[format](pictures.photo(61, 40))
    assert inspect(data, LIMITS) == Header(format, 61, 40, 1, 95 if format == "jpeg" else None)


@pytest.mark.parametrize("format", TURNED)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_every_format_is_applied_once(format: str, orientation: int) -> None:
    picture = pictures.corners(61, 40)
    stored = pictures.turned(picture, orientation)
    data = ENCODERS[format](stored, exif=pictures.exif(orientation))
    assert mean_difference(upright(data), picture) < 2
    assert decode(data, LIMITS).size == picture.size


@pytest.mark.parametrize("turn", [None, *Image.Transpose])
def test_a_box_of_the_upright_image_is_found_in_the_stored_image(turn: Image.Transpose | None) -> None:
    decoded = Decoded(pictures.photo(61, 40), turn)
    whole = decoded.shown(decoded.picture)
    assert decoded.size == whole.size
    for box in (Box(3, 5, 20, 11), Box(0, 0, *whole.size), Box(whole.width - 1, 0, 1, 7)):
        left, top, width, height = decoded.stored(box)
        part = decoded.shown(decoded.picture.crop((left, top, left + width, top + height)))
        expected = whole.crop((box.left, box.top, box.left + box.width, box.top + box.height))
        assert part.tobytes() == expected.tobytes()
        assert part.size == box.size == decoded.turned_size(decoded.stored(box).size)


@pytest.mark.parametrize("size", [(400, 300), (401, 299), (61, 43)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_is_decoded_at_half_its_size_without_a_shift(size: tuple[int, int], orientation: int) -> None:
    picture = pictures.photo(*size)
    data = pictures.jpeg(pictures.turned(picture, orientation), exif=pictures.exif(orientation))
    halved = decode(data, LIMITS, halved=True)
    assert halved.size == size
    # Compare as stored. In the upright image, an odd side would be halved from the other end.
    assert mean_difference(halved.picture, decode(data, LIMITS).picture.reduce(2)) < 1


def test_formats_without_halved_decoding_are_decoded_at_full_size() -> None:
    assert decode(pictures.png(pictures.photo(40, 30)), LIMITS, halved=True).picture.size == (40, 30)


@pytest.mark.parametrize("xmp", [b'<x tiff:Orientation="6"/>', b"<x><tiff:Orientation> 6 </tiff:Orientation></x>"])
@pytest.mark.parametrize("format", ["jpeg", "webp", "png"])
def test_an_orientation_only_in_xmp_counts(format: str, xmp: bytes) -> None:
    picture = pictures.corners(61, 40)
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    options: dict[str, object] = {"pnginfo": info} if format == "png" else {"xmp": xmp}
    assert mean_difference(upright(ENCODERS[format](pictures.turned(picture, 6), **options)), picture) < 2
    # A different EXIF orientation takes precedence.
    assert mean_difference(upright(ENCODERS[format](picture, exif=pictures.exif(1), **options)), picture) < 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "xmp",
    [
        "<x tiff:Orientation='{}'/>",
        '<x tiff:Orientation = "{}"/>',
        '<x tiff:Orientation="{}"/>',
        "<tiff:Orientation>\n{}\n</tiff:Orientation>",
    ],
)
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_an_orientation_only_in_the_xmp_of_a_tiff_counts(xmp: str, orientation: int, compression: str) -> None:
    picture = pictures.corners(61, 40)
    stored = pictures.turned(picture, orientation)
    told = xmp.format(orientation).encode()
    data = pictures.tiff(stored, tiffinfo={700: told}, compression=compression)
    assert mean_difference(upright(data), picture) == 0
    assert decode(data, LIMITS).size == picture.size
    # With a tag too, only the tag is applied.
    both = pictures.tiff(stored, tiffinfo={700: told, 274: orientation}, compression=compression)
    assert mean_difference(upright(both), picture) == 0
    other = pictures.tiff(picture, tiffinfo={700: told, 274: 1}, compression=compression)
    assert mean_difference(upright(other), picture) == 0


def test_xmp_of_a_wrong_type_does_not_refuse_a_tiff() -> None:
    picture = pictures.corners(61, 40)
    text, number = ImageFileDirectory_v2(), ImageFileDirectory_v2()
    text.tagtype[700], number.tagtype[700] = TiffTags.ASCII, TiffTags.LONG
    text[700], number[700] = '<x tiff:Orientation="6"/>', 6
    assert mean_difference(upright(pictures.tiff(pictures.turned(picture, 6), tiffinfo=text)), picture) == 0
    assert mean_difference(upright(pictures.tiff(picture, tiffinfo=number)), picture) == 0


def test_damaged_exif_does_not_refuse_an_intact_image() -> None:
    data = pictures.jpeg(pictures.corners(61, 40), exif=b"Exif\0\0II*\0\xff\xff\xff\x7fgarbage")
    assert decode(data, LIMITS).size == (61, 40)


def test_a_jpeg_with_a_second_image_is_a_jpeg() -> None:
    data = pictures.encoded(
        pictures.corners(61, 40), "MPO", save_all=True, append_images=[pictures.corners(10, 10)], quality=95
    )
    assert inspect(data, LIMITS) == Header("jpeg", 61, 40, 1, 95)
    assert decode(data, LIMITS).size == (61, 40)


def test_grey_of_16_bits_is_scaled_and_not_clipped() -> None:
    steps = np.array([[0, 128, 129, 32896, 65406, 65407, 65535]], np.uint16)
    picture = upright(pictures.png(Image.fromarray(steps)))
    assert picture.mode == "RGB"
    assert np.asarray(picture)[0, :, 0].tolist() == [0, 0, 1, 128, 254, 255, 255]


@pytest.mark.parametrize(
    ("picture", "options", "mode", "pixel"),
    [
        (Image.new("1", (2, 2), 1), {}, "RGB", (255, 255, 255)),
        (Image.new("1", (2, 2), 1), {"transparency": 1}, "RGBA", (255, 255, 255, 0)),
        (Image.new("L", (2, 2), 90), {}, "RGB", (90, 90, 90)),
        (Image.new("L", (2, 2), 90), {"transparency": 90}, "RGBA", (90, 90, 90, 0)),
        (Image.new("L", (2, 2), 85), {"bits": 2, "transparency": 1}, "RGBA", (85, 85, 85, 0)),
        (Image.new("L", (2, 2), 51), {"bits": 4, "transparency": 3}, "RGBA", (51, 51, 51, 0)),
        (Image.new("LA", (2, 2), (90, 40)), {}, "RGBA", (90, 90, 90, 40)),
        (Image.new("LA", (2, 2), (90, 255)), {}, "RGB", (90, 90, 90)),
        (Image.new("RGB", (2, 2), (1, 2, 3)), {"transparency": (1, 2, 3)}, "RGBA", (1, 2, 3, 0)),
        (Image.new("RGBA", (2, 2), (1, 2, 3, 254)), {}, "RGBA", (1, 2, 3, 254)),
        (Image.new("RGBA", (2, 2), (1, 2, 3, 255)), {}, "RGB", (1, 2, 3)),
        (Image.new("P", (2, 2), 0), {"transparency": 0}, "RGBA", (0, 0, 0, 0)),
        (Image.new("P", (2, 2), 0), {"transparency": b"\x50"}, "RGBA", (0, 0, 0, 80)),
        (Image.new("P", (2, 2), 0), {}, "RGB", (0, 0, 0)),
        (Image.new("I;16", (2, 2), 257 * 7), {"transparency": 257 * 7}, "RGBA", (7, 7, 7, 0)),
    ],
)
def test_every_kind_of_png_becomes_rgb_or_rgba(
    picture: Image.Image, options: dict[str, object], mode: str, pixel: tuple[int, ...]
) -> None:
    data = pictures.png(picture, **options)
    assert decode(data, LIMITS).picture.mode == mode
    assert as_pixel(data) == pixel


def test_a_side_that_is_too_long_is_refused() -> None:
    assert decode(pictures.png(Image.new("L", (65_535, 1))), LIMITS).size == (65_535, 1)
    with pytest.raises(TooLarge) as refused:
        decode(pictures.png(Image.new("L", (1, 65_536))), LIMITS)
    assert (refused.value.expected, refused.value.got) == ("at most 65535 pixels per side", "1 x 65536")


def test_a_wide_colour_profile_is_converted_to_srgb() -> None:
    profile = pictures.display_p3()
    assert as_pixel(pictures.png(Image.new("RGB", (4, 4), (200, 100, 100)), icc_profile=profile))[0] > 205
    grey = as_pixel(pictures.png(Image.new("RGB", (4, 4), (128, 128, 128)), icc_profile=profile))
    assert max(abs(part - 128) for part in grey) <= 2


def test_a_profile_leaves_the_alpha_channel_unchanged() -> None:
    cutout = pictures.cutout(40, 30)
    picture = upright(pictures.png(cutout, icc_profile=pictures.display_p3()))
    assert picture.getchannel("A").tobytes() == cutout.getchannel("A").tobytes()


def test_a_grey_profile_is_applied_to_grey() -> None:
    linear = as_pixel(pictures.png(Image.new("L", (4, 4), 55), icc_profile=pictures.grey_gamma(1.0)))
    assert linear[0] == linear[1] == linear[2]
    assert abs(linear[0] - 128) <= 2  # 0.216 of the light is perceived as half


def test_a_grey_image_with_an_rgb_profile_is_accepted() -> None:
    assert as_pixel(pictures.jpeg(Image.new("L", (8, 8), 128), icc_profile=pictures.srgb())) == (128, 128, 128)


def test_a_cmyk_profile_is_applied() -> None:
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    red, green, blue = as_pixel(pictures.jpeg(cyan, icc_profile=pictures.grey_inks()))
    assert max(red, green, blue) - min(red, green, blue) <= 3
    assert abs(green - 185) <= 6  # three quarters of the lightness


def test_cmyk_without_a_profile_is_converted_by_complement() -> None:
    red, green, blue = as_pixel(pictures.jpeg(Image.new("CMYK", (8, 8), (255, 0, 0, 0))))
    assert red < 10
    assert green > 245
    assert blue > 245


@pytest.mark.parametrize(
    "profile",
    [b"no profile at all", pictures.grey_inks(), pictures.grey_gamma(1.0), pictures.display_p3()[:300]],
    ids=["garbage", "for CMYK", "for grey", "cut off"],
)
def test_a_profile_for_other_channels_is_ignored(profile: bytes) -> None:
    assert as_pixel(pictures.png(Image.new("RGB", (4, 4), (200, 100, 50)), icc_profile=profile)) == (200, 100, 50)


def test_a_decoded_image_has_no_metadata() -> None:
    data = pictures.jpeg(pictures.corners(40, 30), exif=pictures.exif(), icc_profile=pictures.srgb(), comment=b"hush")
    picture = upright(data)
    assert picture.info == {}
    assert not picture.getexif()


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (pictures.encoded(pictures.corners(8, 8), "JPEG2000"), "jpeg-2000"),
        (pictures.encoded(pictures.corners(16, 16), "ICO"), "ico"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "svg"),
        (b"<svg/>", "svg"),
        (b"<html>", "html or xml"),
        (b"%PDF-1.7", "pdf"),
        (b"\x01\x02\x03", "bytes beginning 01 02 03"),
        (b"", "an empty file"),
    ],
)
def test_other_formats_are_refused_by_name(data: bytes, got: str) -> None:
    with pytest.raises(UnsupportedMedia) as refusal:
        inspect(data, LIMITS)
    assert refusal.value.code is ErrorCode.UNSUPPORTED_MEDIA
    assert refusal.value.expected == ", ".join(ACCEPTED)
    assert refusal.value.got == got


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(TooLarge) as refusal:
        inspect(b"x" * 101, Limits(max_bytes=100))
    assert (refusal.value.code, refusal.value.expected, refusal.value.got) == (
        ErrorCode.TOO_LARGE,
        "at most 100 bytes",
        "101",
    )


@pytest.mark.parametrize("format", ENCODERS)
def test_too_many_pixels_are_refused_by_the_header(format: str) -> None:
    data = ENCODERS[format](pictures.corners(100, 60))
    assert inspect(data, Limits(max_pixels=6000)).width == 100
    with pytest.raises(TooLarge) as refusal:
        inspect(data, Limits(max_pixels=5999))
    assert refusal.value.expected == "at most 5999 pixels"
    assert refusal.value.got == "100 x 60 = 6000"


def test_a_png_of_4_gigapixels_in_a_hundred_bytes_is_refused() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 65535, 65535, 8, 6, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(TooLarge):
        inspect(bomb, LIMITS)


def test_a_webp_canvas_is_refused_before_it_is_allocated() -> None:
    side = (16383 - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + side + side
    bomb = b"RIFF" + struct.pack("<I", len(body)) + body
    with pytest.raises(TooLarge) as refusal:
        inspect(bomb, LIMITS)
    assert refusal.value.got == "16383 x 16383 = 268402689"


@pytest.mark.parametrize("format", ["webp", "png", "avif"])
def test_an_animation_counts_all_its_frames(format: str) -> None:
    frames = [pictures.photo(50, 40, seed=seed) for seed in range(3)]
    data = ENCODERS[format](frames[0], save_all=True, append_images=frames[1:])
    assert inspect(data, LIMITS) == Header(format, 50, 40, 3)
    assert decode(data, LIMITS).size == (50, 40)
    with pytest.raises(TooLarge) as refusal:
        inspect(data, Limits(max_frames_pixels=5999))
    assert refusal.value.got == "3 frames of 50 x 40"


def test_a_huge_profile_is_refused() -> None:
    size = 5 * 2**20
    sound = (size.to_bytes(4, "big") + bytes(32) + b"acsp").ljust(size, b"\0")
    for encode in (pictures.jpeg, pictures.png):
        with pytest.raises(TooLarge):
            inspect(encode(pictures.corners(8, 8), icc_profile=sound), LIMITS)
        # Bytes that are not a profile are ignored.
        assert inspect(encode(pictures.corners(8, 8), icc_profile=bytes(size)), LIMITS).width == 8


@pytest.mark.parametrize("format", ENCODERS)
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(format: str, share: float) -> None:
    data = ENCODERS[format](pictures.photo(200, 150))
    with pytest.raises(PackshotError) as refusal:
        decode(data[: int(len(data) * share)], LIMITS)
    assert refusal.value.code is ErrorCode.UNRENDERABLE
    assert refusal.value.got


def test_a_truncated_progressive_jpeg_is_refused() -> None:
    data = pictures.jpeg(pictures.photo(200, 150), progressive=True)
    with pytest.raises(Unrenderable):
        decode(data[: len(data) // 2], LIMITS)


def ended(data: bytes, share: float) -> bytes:
    """Truncate a JPEG and append an end marker."""
    return data[: int(len(data) * share)].rstrip(b"\xff") + b"\xff\xd9"


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("halved", [False, True])
def test_a_truncated_jpeg_with_an_end_marker_is_refused(mode: str, share: float, halved: bool) -> None:
    data = pictures.jpeg(pictures.photo(640, 480).convert(mode), quality=80, subsampling="4:2:0")
    with pytest.raises(Unrenderable) as refusal:
        decode(ended(data, share), LIMITS, halved=halved)
    assert refusal.value.got == "a JPEG that ends before its last pixel"
    with pytest.raises(Unrenderable):
        decode(ended(data, share) + data, LIMITS, halved=halved)


def test_a_progressive_jpeg_truncated_in_its_first_scans_with_an_end_marker_is_refused() -> None:
    data = pictures.jpeg(pictures.photo(640, 480), progressive=True, quality=80)
    for share in (0.1, 0.25):
        with pytest.raises(Unrenderable):
            decode(ended(data, share), LIMITS)


def scan_ends(data: bytes) -> list[int]:
    """Return the end of each scan of a JPEG: the position of the next marker."""
    starts = [found.start() for found in re.finditer(b"\xff\xda", data)]
    return [found.start() for start in starts if (found := re.compile(b"\xff[^\0\xff]").search(data, start + 2))]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("halved", [False, True])
def test_a_progressive_jpeg_that_lacks_whole_scans_is_refused(mode: str, halved: bool) -> None:
    data = pictures.jpeg(pictures.photo(160, 120).convert(mode), progressive=True, quality=80)
    *early, last = scan_ends(data)
    assert len(early) >= 5
    for end in early:
        with pytest.raises(Unrenderable) as refusal:
            decode(data[:end] + b"\xff\xd9", LIMITS, halved=halved)
        assert refusal.value.got == "a JPEG that ends before its last pixel"
    assert decode(data[:last] + b"\xff\xd9", LIMITS, halved=halved).size == (160, 120)


def of_three_scans(picture: Image.Image) -> bytes:
    """Encode a sequential JPEG with one scan for each component."""
    grey = [pictures.jpeg(part, quality=80) for part in picture.convert("YCbCr").split()]
    frame, scan = grey[0].index(b"\xff\xc0"), grey[0].index(b"\xff\xda")
    header = b"\xff\xc0\0\x11" + grey[0][frame + 4 : frame + 9] + bytes([3, 1, 17, 0, 2, 17, 0, 3, 17, 0])
    scans = (
        b"\xff\xda\0\x08\x01" + bytes([number, 0, 0, 63, 0]) + part[scan + 10 : -2]
        for number, part in enumerate(grey, 1)
    )
    return grey[0][:frame] + header + grey[0][frame + 13 : scan] + b"".join(scans) + b"\xff\xd9"


def test_a_jpeg_without_the_complete_scan_of_a_component_is_refused() -> None:
    picture = pictures.photo(160, 120)
    data = of_three_scans(picture)
    assert mean_difference(upright(data), picture) < 8
    first, second, _ = scan_ends(data)
    for end in (first, second, second + (len(data) - second) // 2, len(data) - 40):
        with pytest.raises(Unrenderable):
            decode(data[:end].rstrip(b"\xff") + b"\xff\xd9", LIMITS)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_complete_jpeg_with_a_grey_lower_right_corner_is_accepted(progressive: bool) -> None:
    for picture in (Image.new("L", (300, 200), 128), Image.new("RGB", (300, 200), pictures.GREY)):
        data = pictures.jpeg(picture, progressive=progressive)
        assert decode(data, LIMITS).size == (300, 200)
        assert decode(data + b"what a camera leaves behind the end", LIMITS).size == (300, 200)


def test_a_jpeg_of_hundreds_of_scans_is_refused_before_it_is_decoded() -> None:
    data = pictures.jpeg(pictures.photo(64, 48), progressive=True)
    at = data.rindex(b"\xff\xda")
    last, end = data[at:-2], data[-2:]
    assert decode(data[:at] + last * 20 + end, LIMITS).size == (64, 48)
    with pytest.raises(TooLarge) as refusal:
        inspect(data[:at] + last * 300 + end, LIMITS)
    assert refusal.value.expected == "at most 100 scans"


def gif_frame(left: int, top: int, width: int, height: int) -> bytes:
    """One frame without a local colour table, whose pixels are missing."""
    return b"," + struct.pack("<4H", left, top, width, height) + b"\0\x02\x01\x2c\0"


def test_a_gif_with_a_huge_later_frame_is_refused() -> None:
    whole = pictures.gif(pictures.photo(40, 30))[:-1]
    assert inspect(whole + gif_frame(0, 0, 40, 30) + b";", LIMITS).frames == 2
    for frame in (gif_frame(0, 0, 65535, 65535), gif_frame(65535, 65535, 1, 1)):
        with pytest.raises(TooLarge):
            inspect(whole + frame + b";", LIMITS)
        with pytest.raises(TooLarge):
            inspect(whole + frame[:12], LIMITS)


def test_an_animation_of_too_many_frames_is_refused() -> None:
    many = pictures.gif(pictures.photo(40, 30))[:-1] + gif_frame(0, 0, 1, 1) * 20 + b";"
    assert inspect(many, Limits(max_frames=21)).frames == 21
    with pytest.raises(TooLarge) as refusal:
        inspect(many, Limits(max_frames=20))
    assert refusal.value.expected == "at most 20 frames"
    for format in ("WEBP", "PNG"):
        with pytest.raises(TooLarge):
            inspect(pictures.animated(format, 4), Limits(max_frames=3))


def test_a_gif_truncated_in_a_later_frame_is_refused() -> None:
    data = pictures.animated("GIF", 4)
    with pytest.raises(Unrenderable):
        inspect(data[: len(data) * 3 // 4], LIMITS)


def test_text_that_inflates_too_much_is_not_read() -> None:
    body = b"Comment\0\0" + zlib.compress(bytes(50_000_000))
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    data = pictures.png(pictures.corners(8, 8))
    tracemalloc.start()
    assert inspect(data[:33] + chunk + data[33:], LIMITS).width == 8
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_tiffs_of_every_usual_compression_decode(compression: str) -> None:
    picture = pictures.photo(61, 40)
    data = pictures.tiff(picture, compression=compression)
    assert mean_difference(upright(data), picture) < 6
    with pytest.raises(PackshotError):
        decode(data[: len(data) * 2 // 3], LIMITS)


def test_the_first_page_of_a_tiff_is_shown() -> None:
    data = pictures.tiff(pictures.photo(40, 30), save_all=True, append_images=[pictures.photo(400, 300)])
    assert inspect(data, LIMITS) == Header("tiff", 40, 30, 1)
    assert decode(data, LIMITS).size == (40, 30)


def test_only_the_reader_of_the_sniffed_format_is_called() -> None:
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    for data in (postscript, pictures.encoded(pictures.corners(8, 8), "TGA"), b"P6 1 1 255 abc"):
        with pytest.raises(UnsupportedMedia):
            inspect(data, LIMITS)
