"""The request form of a live URL, `/<id>_<w>_<h>[_<s>x].<ext>`: syntax only, computed without any data.

It says by its path what a stable URL says by parameters, and means the same:
`LiveForm.request` is what to draw. Sizes and options are read as leniently as
the service iaas reads them. Each lenient spelling becomes one canonical form, so
it leads to no further variant.
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
# Originals of these formats are given under their own extension, too, but nothing is drawn in them.
ORIGINAL_EXTENSIONS = ("gif", "bmp", "dib", "tif", "tiff", "heic", "heif")
FITS = {mode.value: mode for mode in (Mode.CLIP, Mode.CROP, Mode.CANVAS, Mode.COVER)}
# Standard deviation in pixels of the result, as ImageMagick's `-blur 15x7`, which live clients know.
BLUR = Decimal(7)
MAX_ID_CHARACTERS = 200
ID_RULE = (
    f"1 to {MAX_ID_CHARACTERS} letters, digits, -._~!$&'()*+,;=:@ and spaces; the first no dot or space, "
    "the last no space; at the end no extension of an image and nothing like _100_100 or _100_100_2x; "
    "not token, graphql, robots.txt or _health"
)
# What is something else where images are asked for.
RESERVED = ("token", "graphql", "robots.txt", "_health")
FORMS = "<id>_<width>_<height>.<ext>, <id>_<width>_<height>_<scale>x.<ext> or <id>.<ext>"

_NAME = re.compile(r"(?P<stem>[^/\x00-\x1f\x7f]+)\.(?P<extension>[^./]+)")
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_SIZED = re.compile(rf"(?P<id>.+)_(?P<width>{_NUMBER})_(?P<height>{_NUMBER})(_(?P<scale>{_NUMBER})x)?")
# What a path segment may hold unescaped (RFC 3986, `pchar`), and spaces within.
_ID = re.compile(rf"(?![. ])[A-Za-z0-9._~!$&'()*+,;=:@ -]{{1,{MAX_ID_CHARACTERS}}}(?<! )")
_BEYOND = 10**9
_CROP_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveForm:
    """What a live URL asks for.

    Attributes:
        extension: in lower case.
        size: the box in pixels, the scale folded in; None: the original itself is meant, and nothing else counts.
        quality: of a JPEG or WebP; it means nothing to other formats.
        proxy: the bytes are wanted where the answer could be a redirect to the CDN.
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
        """The images whose original may be meant; an image can be called `x.gif`, and `/x.gif` can be the image `x`."""
        named = () if self.extension in EXTENSIONS else (f"{self.image_id}.{self.extension}",)
        return (self.image_id, *named)

    @property
    def negotiates(self) -> bool:
        """Whether the format depends on what the client accepts."""
        return self.allow_webp and EXTENSIONS[self.extension] in (Format.JPEG, Format.PNG)

    def for_client(self, accept: frozenset[Format]) -> "LiveForm":
        """Return the form in the format that a client gets who names `accept`."""
        return replace(self, extension="webp") if self.negotiates and Format.WEBP in accept else self

    @property
    def request(self) -> RequestForm:
        """What is drawn, at the main location, and enlarged where that takes it."""
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
        """The last segment of the path, escaped, in its one spelling."""
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
        """Return the equal request of which no side is beyond `limit`.

        A crop keeps the ratio of its box. Otherwise each side is bounded by itself, as iaas does.
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
    """Read the last segment of a path, decoded, and a query string as it stands in the URL.

    Dimensions are read from the right, so that ids may hold `_`. Names, escapes and
    repeated parameters follow `packshot.variants.request.parse_request`.

    Raises:
        Invalid: another extension, a size or fit that does not fit, or a broken escape.
        NotFound: no URL of a picture looks like that.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise NotFound("There is no such image.", expected=FORMS, got=name)
    extension = match["extension"].lower()
    sized = _SIZED.fullmatch(match["stem"])
    known = (*EXTENSIONS, *(ORIGINAL_EXTENSIONS if sized is None else ()))
    if extension not in known:
        raise Invalid("Images are not given in that format.", field=("ext",), expected=", ".join(known), got=extension)
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
    """Return whether an option is on; anything but `true` means that it is not."""
    return found.get(name, "").lower() == "true"


def _quality(text: str) -> int | QualityChoice:
    """Return a quality with its decimals dropped and at most 100; what is no plain number means `auto`."""
    if parse_decimal(text) is None:
        return QualityChoice.AUTO
    digits = text.partition(".")[0].lstrip("0")
    return min(100, int(digits[:4] or "0"))


def check_image_id(image_id: str) -> str:
    """Return an id under which an image can be uploaded, else raise `Invalid` with the rule."""
    _, dot, extension = image_id.rpartition(".")
    known = dot and extension.lower() in EXTENSIONS
    if not _ID.fullmatch(image_id) or _SIZED.fullmatch(image_id) or known or image_id in RESERVED:
        raise Invalid("That is no name of an image.", field=("id",), expected=ID_RULE, got=image_id)
    return image_id


def strip_extension(name: str) -> str:
    """Return a name without a picture's extension at its end.

    >>> strip_extension("holiday.2024.JPG"), strip_extension("holiday.2024")
    ('holiday.2024', 'holiday.2024')
    """
    stem, dot, extension = name.rpartition(".")
    return stem if dot and extension.lower() in EXTENSIONS else name


def parse_upload_crop(query: str) -> Box | None:
    """Read `x`, `y`, `width` and `height` of an upload's query string: pixels of the upright picture; None: no crop.

    Raises:
        Invalid: not all four are given, or one is no number.
    """
    found = split_query(query)
    given = [name for name in ("x", "y", "width", "height") if name in found]
    if not given:
        return None
    if len(given) < 4:
        raise Invalid("A crop needs all four.", expected="x, y, width and height", got=", ".join(given))
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
    """Return a box of a picture as a crop, which `crop_box` turns into that very box again.

    Raises:
        Invalid: it juts out.
    """
    right, bottom = box.left + box.width, box.top + box.height
    if right > picture.width or bottom > picture.height:
        raise Invalid(
            "The crop is not within the picture.",
            field=("width",) if right > picture.width else ("height",),
            expected=f"x + width at most {picture.width}, y + height at most {picture.height}",
            got=f"{right} and {bottom}",
        )
    return Crop(box.left / picture.width, box.top / picture.height, right / picture.width, bottom / picture.height)
