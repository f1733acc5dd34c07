"""The request form of a live URL, `/<id>_<w>_<h>[_<s>x].<ext>`: syntax only, computed without any data.

Its path says what a stable URL says by parameters; `LiveForm.request` is the equal request. Sizes and options are
parsed as leniently as in the service iaas. Every lenient spelling becomes one canonical form, so it creates no
further variant.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from urllib.parse import quote

from packshot.errors import Invalid, NotFound
from packshot.geometry import Box, Crop, Gravity, Mode, Size, half_up
from packshot.model import Format
from packshot.variants.decimals import MAX_CHARACTERS, parse_decimal
from packshot.variants.request import FormatChoice, QualityChoice, RequestForm, fold_name, split_query

EXTENSIONS = {
    "jpg": Format.JPEG,
    "jpeg": Format.JPEG,
    "jfif": Format.JPEG,
    "jpe": Format.JPEG,
    "png": Format.PNG,
    "webp": Format.WEBP,
    "avif": Format.AVIF,
}
# Originals of these formats are served under their own extension, but no variant has them.
ORIGINAL_EXTENSIONS = ("gif", "bmp", "dib", "tif", "tiff", "heic", "heif")
FITS = {mode.value: mode for mode in (Mode.CLIP, Mode.CROP, Mode.CANVAS, Mode.COVER)}
# Standard deviation in output pixels, as ImageMagick's `-blur 15x7`, which clients of iaas expect.
BLUR = Decimal(7)
MAX_ID_CHARACTERS = 200
ID_RULE = (
    f"1 to {MAX_ID_CHARACTERS} letters, digits, -._~!$&'()*+,;=:@ and spaces; the first no dot or space, "
    "the last no space; at the end no extension of an image and nothing like _100_100 or _100_100_2x; "
    "not token, graphql, robots.txt or _health"
)
# Names that have another meaning under the path of live images.
RESERVED = ("token", "graphql", "robots.txt", "_health")
FORMS = "<id>_<width>_<height>.<ext>, <id>_<width>_<height>_<scale>x.<ext> or <id>.<ext>"

_NAME = re.compile(r"(?P<stem>[^/\x00-\x1f\x7f]+)\.(?P<extension>[^./]+)")
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_SIZED = re.compile(rf"(?P<id>.+)_(?P<width>{_NUMBER})_(?P<height>{_NUMBER})(_(?P<scale>{_NUMBER})x)?")
# Unescaped characters of a path segment (RFC 3986, `pchar`), and spaces inside.
_ID = re.compile(rf"(?![. ])[A-Za-z0-9._~!$&'()*+,;=:@ -]{{1,{MAX_ID_CHARACTERS}}}(?<! )")
_BEYOND = 10**9
_CROP_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveForm:
    """What a live URL requests.

    Attributes:
        extension: in lower case.
        size: the box in pixels, multiplied by the scale; None: the original itself, and all other fields are ignored.
        quality: of a JPEG or WebP; other formats ignore it.
        proxy: respond with the bytes instead of a redirect to the CDN.
        allow_webp: a client that accepts WebP may get it instead of JPEG or PNG.
    """

    image_id: str
    extension: str
    size: Size | None = None
    fit: Mode = Mode.CLIP
    blur: bool = False
    quality: int | QualityChoice = QualityChoice.AUTO
    proxy: bool = False
    allow_webp: bool = False

    @property
    def original_ids(self) -> tuple[str, ...]:
        """The ids whose original may be meant: an image can be named `x.gif`, and `/x.gif` can mean the image `x`."""
        named = () if self.extension in EXTENSIONS else (f"{self.image_id}.{self.extension}",)
        return (self.image_id, *named)

    @property
    def negotiates(self) -> bool:
        """Whether the format depends on the client's `Accept` header."""
        return self.allow_webp and EXTENSIONS[self.extension] in (Format.JPEG, Format.PNG)

    def for_client(self, accept: frozenset[Format]) -> "LiveForm":
        """Return the form in the format for a client that sends `accept`."""
        return replace(self, extension="webp") if self.negotiates and Format.WEBP in accept else self

    @property
    def request(self) -> RequestForm:
        """The equal request for the main location, which may enlarge the image."""
        assert self.size is not None
        format = EXTENSIONS[self.extension]
        has_quality = format is Format.JPEG or (format is Format.WEBP and self.quality is not QualityChoice.AUTO)
        return RequestForm(
            width=self.size.width,
            height=self.size.height,
            resize_mode=self.fit,
            resize_gravity=Gravity.CENTER,
            format=FormatChoice(format.value),
            quality=self.quality if has_quality else None,
            blur=BLUR if self.blur else None,
        )

    @property
    def name(self) -> str:
        """The last segment of the path, escaped, in its canonical spelling."""
        size = "" if self.size is None else f"_{self.size.width}_{self.size.height}"
        return f"{quote(self.image_id, safe='')}{size}.{self.extension}"

    def query(self) -> str:
        """Return the canonical query string; `parse_live_request` of it and the name gives this form."""
        pairs = [] if self.fit is Mode.CLIP else [f"fit={self.fit.value}"]
        pairs += ["blur=true"] if self.blur else []
        pairs += [] if self.quality is QualityChoice.AUTO else [f"quality={self.quality}"]
        pairs += ["allow_webp=true"] if self.allow_webp else []
        pairs += ["proxy=true"] if self.proxy else []
        return "&".join(pairs)

    def within(self, limit: Size) -> "LiveForm":
        """Return the equal request with no side beyond `limit`.

        A crop keeps the ratio of its box. Otherwise each side is limited independently, as in iaas.
        """
        if self.size is None or (self.size.width <= limit.width and self.size.height <= limit.height):
            return self
        width, height = self.size
        shrunk = Size(min(width, limit.width), min(height, limit.height))
        if self.fit is Mode.CROP:
            scale = min(Fraction(limit.width, width), Fraction(limit.height, height))
            shrunk = Size(half_up(width * scale), half_up(height * scale))
        return replace(self, size=shrunk)


def parse_live_request(name: str, query: str) -> LiveForm:
    """Parse the decoded last segment of a path, and the query string as it appears in the URL.

    Dimensions are parsed from the right, so that ids may contain `_`. Names, escapes and repeated parameters follow
    `packshot.variants.request.parse_request`.

    Raises:
        Invalid: an unknown extension, an invalid size or fit, or a broken escape.
        NotFound: the name does not have the form of an image URL.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise NotFound("There is no such image.", expected=FORMS, got=name)
    extension = match["extension"].lower()
    sized = _SIZED.fullmatch(match["stem"])
    known = (*EXTENSIONS, *(ORIGINAL_EXTENSIONS if sized is None else ()))
    if extension not in known:
        raise Invalid(
            "Images are not available in that format.", field=("ext",), expected=", ".join(known), got=extension
        )
    found = split_query(query)
    if sized is None:
        return LiveForm(image_id=match["stem"], extension=extension)
    scale = _number(sized["scale"] or "1", "scale")
    width, height = (_number(sized[side], side) for side in ("width", "height"))
    return LiveForm(
        image_id=sized["id"],
        extension=extension,
        size=Size(half_up(width * scale), half_up(height * scale)),
        fit=_fit(found.get("fit", "")),
        blur=_is_true(found, "blur"),
        quality=_quality(found.get("quality", "")),
        proxy=_is_true(found, "proxy"),
        allow_webp=_is_true(found, "allow_webp"),
    )


def _number(text: str, name: str) -> Fraction:
    number = parse_decimal(text)
    if number is None or not 0 < number < _BEYOND:
        raise Invalid(
            f"The {name} does not fit.",
            field=(name,),
            expected=f"a number above 0 and below {_BEYOND}, in at most {MAX_CHARACTERS} plain digits",
            got=text,
        )
    return Fraction(number)


def _fit(text: str) -> Mode:
    if not text:
        return Mode.CLIP
    try:
        return FITS[fold_name(text)]
    except KeyError:
        raise Invalid("The parameter fit does not fit.", field=("fit",), expected=", ".join(FITS), got=text) from None


def _is_true(found: Mapping[str, str], name: str) -> bool:
    """Return whether an option is on: only `true` switches it on."""
    return found.get(name, "").lower() == "true"


def _quality(text: str) -> int | QualityChoice:
    """Return a quality of at most 100 without decimals; anything but a plain number means `auto`."""
    if parse_decimal(text) is None:
        return QualityChoice.AUTO
    digits = text.partition(".")[0].lstrip("0")
    return min(100, int(digits[:4] or "0"))


def check_image_id(image_id: str) -> str:
    """Return an id under which an image can be uploaded, or raise `Invalid` with the rule."""
    _, dot, extension = image_id.rpartition(".")
    known = dot and extension.lower() in EXTENSIONS
    if not _ID.fullmatch(image_id) or _SIZED.fullmatch(image_id) or known or image_id in RESERVED:
        raise Invalid("The name of the image is not valid.", field=("id",), expected=ID_RULE, got=image_id)
    return image_id


def strip_extension(name: str) -> str:
    """Return a name without an image extension at its end.

    >>> strip_extension("holiday.2024.JPG"), strip_extension("holiday.2024")
    ('holiday.2024', 'holiday.2024')
    """
    stem, dot, extension = name.rpartition(".")
    return stem if dot and extension.lower() in EXTENSIONS else name


def parse_upload_crop(query: str) -> Box | None:
    """Parse `x`, `y`, `width` and `height` of an upload's query string: pixels of the upright image; None: no crop.

    Raises:
        Invalid: some of the four are missing, or one is not a number.
    """
    found = split_query(query)
    given = [name for name in ("x", "y", "width", "height") if name in found]
    if not given:
        return None
    if len(given) < 4:
        raise Invalid("A crop needs all four parameters.", expected="x, y, width and height", got=", ".join(given))
    x, y, width, height = (_pixels(found[name], name) for name in given)
    return Box(x, y, width, height)


def _pixels(text: str, name: str) -> int:
    """Return a whole number of pixels; decimals are dropped."""
    least = 1 if name in ("width", "height") else 0
    digits = text.partition(".")[0].lstrip("0")
    if parse_decimal(text) is None or len(digits) > _CROP_DIGITS or int(digits or "0") < least:
        expected = f"a number of pixels from {least}, in plain digits"
        raise Invalid(f"The parameter {name} does not fit.", field=(name,), expected=expected, got=text)
    return int(digits or "0")


def crop_of(box: Box, picture: Size) -> Crop:
    """Return a box of an image as a crop; `crop_box` turns it into the same box again.

    Raises:
        Invalid: the box exceeds the image.
    """
    right, bottom = box.left + box.width, box.top + box.height
    if right > picture.width or bottom > picture.height:
        raise Invalid(
            "The crop exceeds the image.",
            field=("width",) if right > picture.width else ("height",),
            expected=f"x + width at most {picture.width}, y + height at most {picture.height}",
            got=f"{right} and {bottom}",
        )
    return Crop(box.left / picture.width, box.top / picture.height, right / picture.width, bottom / picture.height)
