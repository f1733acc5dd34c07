"""The request form of a live URL, `/<id>_<w>_<h>[_<s>x].<ext>`: syntax only, computed without any data.

It says by its path what a stable URL says by parameters, and means the same:
`LiveForm.request` is what to draw.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from typing import TypeVar
from urllib.parse import quote

from packshot.errors import Invalid, NotFound
from packshot.geometry import Box, Crop, Gravity, Mode, Size, half_up
from packshot.model import Format
from packshot.variants.request import FormatChoice, QualityChoice, RequestForm, parse_request, split_query

T = TypeVar("T")

EXTENSIONS = {
    "jpg": Format.JPEG,
    "jpeg": Format.JPEG,
    "jfif": Format.JPEG,
    "jpe": Format.JPEG,
    "png": Format.PNG,
    "webp": Format.WEBP,
    "avif": Format.AVIF,
}
FITS = {mode.value: mode for mode in (Mode.CLIP, Mode.CROP, Mode.CANVAS, Mode.COVER)}
# Standard deviation in pixels of the result, as ImageMagick's `-blur 15x7`, which live clients know.
BLUR = Decimal(7)
LONGEST_ID = 200
ID_RULE = (
    f"1 to {LONGEST_ID} letters, digits and -._~, the first no dot; at the end no picture's extension "
    "and nothing like _100_100 or _100_100_2x; not token, graphql or robots.txt"
)
# What is something else where images are asked for.
RESERVED = ("token", "graphql", "robots.txt")
FORMS = "<id>_<width>_<height>.<ext>, <id>_<width>_<height>_<scale>x.<ext> or <id>.<ext>"

_NAME = re.compile(r"(?P<stem>[^/\x00-\x1f\x7f]+)\.(?P<extension>[^./]+)")
_SIZED = re.compile(r"(?P<id>.+)_(?P<width>[0-9]+)_(?P<height>[0-9]+)(_(?P<scale>[0-9]+(\.[0-9]+)?)x)?")
_ID = re.compile(rf"(?!\.)[A-Za-z0-9._~-]{{1,{LONGEST_ID}}}")
_MOST_DIGITS = 9


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveForm:
    """What a live URL asks for.

    Attributes:
        extension: in lower case.
        size: the box in pixels, the scale folded in; None: the original itself is meant, and nothing else counts.
        quality: of a JPEG; it means nothing to other formats.
    """

    image_id: str
    extension: str
    size: Size | None = None
    fit: Mode = Mode.CLIP
    blur: bool = False
    quality: int | QualityChoice = QualityChoice.AUTO

    @property
    def request(self) -> RequestForm:
        """What is drawn, at the main location, and enlarged where that takes it."""
        assert self.size is not None
        format = EXTENSIONS[self.extension]
        return RequestForm(
            width=self.size.width,
            height=self.size.height,
            resize_mode=self.fit,
            resize_gravity=Gravity.CENTER,
            format=FormatChoice(format.value),
            quality=self.quality if format is Format.JPEG else None,
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
        return "&".join(pairs)

    def within(self, limit: Size) -> "LiveForm":
        """Return the equal request of which no side is beyond `limit`.

        A crop or canvas is exactly as large as its box, so that keeps its ratio.
        Else the box only bounds the picture, and each side is bounded by itself.
        """
        if self.size is None or (self.size.width <= limit.width and self.size.height <= limit.height):
            return self
        width, height = self.size
        shrunk = Size(min(width, limit.width), min(height, limit.height))
        if self.fit in (Mode.CROP, Mode.CANVAS):
            scale = min(Fraction(limit.width, width), Fraction(limit.height, height))
            shrunk = Size(half_up(width * scale), half_up(height * scale))
        return replace(self, size=shrunk)


def parse_live_request(name: str, query: str) -> LiveForm:
    """Read the last segment of a path, decoded, and a query string as it stands in the URL.

    Dimensions are read from the right, so that ids may hold `_`. Parameters follow
    the rules of `packshot.variants.request.parse_request`.

    Raises:
        Invalid: another extension, or a value that does not fit.
        NotFound: no URL of a picture looks like that.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise NotFound("There is no such image.", expected=FORMS, got=name)
    extension = match["extension"].lower()
    if extension not in EXTENSIONS:
        raise Invalid(
            "Images are not given in that format.", field=("ext",), expected=", ".join(EXTENSIONS), got=extension
        )
    found = split_query(query)
    sized = _SIZED.fullmatch(match["stem"])
    if sized is None:
        return LiveForm(image_id=match["stem"], extension=extension)
    scale = Fraction(_number(sized["scale"] or "1", "scale", "a number above 0"))
    width, height = (_number(sized[side], side, "a whole number of pixels from 1") for side in ("width", "height"))
    # The same spellings as of stable URLs, and the same refusals.
    said = parse_request("&".join(f"{key}={quote(found[key])}" for key in ("quality",) if key in found))
    return LiveForm(
        image_id=sized["id"],
        extension=extension,
        size=Size(half_up(width * scale), half_up(height * scale)),
        fit=_choice(found, "fit", FITS, Mode.CLIP),
        blur=_choice(found, "blur", {"true": True, "false": False}, False),
        quality=QualityChoice.AUTO if said.quality is None else said.quality,
    )


def _number(text: str, name: str, expected: str) -> Fraction:
    whole = text.partition(".")[0]
    if len(whole) > _MOST_DIGITS or len(text) > 2 * _MOST_DIGITS + 1 or not Fraction(text):
        raise Invalid(
            f"The {name} does not fit.",
            field=(name,),
            expected=f"{expected}, in at most {_MOST_DIGITS} plain digits",
            got=text,
        )
    return Fraction(text)


def _choice(found: dict[str, str], name: str, choices: Mapping[str, T], default: T) -> T:
    text = found.get(name)
    if text is None:
        return default
    try:
        return choices[text.lower()]
    except KeyError:
        raise Invalid(
            f"The parameter {name} does not fit.", field=(name,), expected=", ".join(choices), got=text
        ) from None


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
        Invalid: not all four are given, or one is no whole number.
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
    least = 1 if name in ("width", "height") else 0
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < least:
        expected = f"a whole number of pixels from {least}, in plain digits"
        raise Invalid(f"The parameter {name} does not fit.", field=(name,), expected=expected, got=text)
    return int(text)


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
