"""The options of `location plan` and `location put` that set a location's fields."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import typer

from packshot.geometry import Gravity
from packshot.model import LOCATION_FIELDS, Format, IncludeAll, Rendition
from packshot.variants.decimals import MAX_CHARACTERS, parse_decimal
from packshot.variants.request import fold_name

_RENDITION = re.compile(r"(?P<width>[0-9]{0,5})x(?P<height>[0-9]{0,5})(?:@(?P<dpr>[0-9]+(?:\.[0-9]+)?))?")


def read_gravity(text: str) -> Gravity:
    """Return the gravity of a name. As in URLs and the admin API, case, hyphens and underscores do not matter."""
    try:
        return Gravity(fold_name(text))
    except ValueError:
        raise typer.BadParameter(f"expected one of {', '.join(Gravity)}, got {text!r}") from None


class Clearable(StrEnum):
    """The options of fields that `--clear` resets to their defaults."""

    LABEL = "label"
    WIDTH = "width"
    HEIGHT = "height"
    GRAVITY = "gravity"
    INCLUDE_ALL = "include-all"
    FORMATS = "formats"
    RENDITIONS = "renditions"


Name = Annotated[str, typer.Argument(metavar="NAME", help="The location's name.")]
Label = Annotated[str | None, typer.Option(help="Name for people.")]
Width = Annotated[int | None, typer.Option(help="Default width in pixels.")]
Height = Annotated[int | None, typer.Option(help="Default height in pixels.")]
Fallback = Annotated[
    str | None, typer.Option(metavar="NAME", help="The location whose image is shown where a pack has none.")
]
NoFallback = Annotated[bool, typer.Option("--no-fallback", help="Show nothing where a pack has no image.")]
GravityOption = Annotated[
    Gravity | None,
    typer.Option(
        "--gravity", parser=read_gravity, metavar="north|northeast|…", help="Where the kept part of a crop lies."
    ),
]
IncludeAllOption = Annotated[
    IncludeAll | None, typer.Option("--include-all", help="Whether the whole image is shown, with padding.")
]
AllowUpscale = Annotated[
    bool | None, typer.Option("--allow-upscale/--no-allow-upscale", help="Whether an image may be enlarged.")
]
Formats = Annotated[str | None, typer.Option(metavar="avif,webp,…", help="Formats that are rendered ahead of time.")]
Renditions = Annotated[
    str | None,
    typer.Option(metavar="640x360@2,320x,…", help="Sizes that are rendered ahead of time; @2 doubles both sides."),
]
Clear = Annotated[
    list[Clearable] | None,
    typer.Option(metavar="FIELD", help="Reset a field to its default: " + ", ".join(Clearable) + ". May be repeated."),
]


@dataclass(frozen=True, slots=True)
class LocationOptions:
    """The values of these options in one command; None: the option was not given."""

    label: str | None
    width: int | None
    height: int | None
    fallback: str | None
    no_fallback: bool
    gravity: Gravity | None
    include_all: IncludeAll | None
    allow_upscale: bool | None
    formats: str | None
    renditions: str | None
    clear: list[Clearable] | None

    def changes(self) -> dict[str, Any]:
        """Return the fields to set, by the core's names; None resets one to its default.

        Raises:
            typer.BadParameter: options contradict each other, or a value is malformed.
        """
        given: dict[str, Any] = {
            "label": self.label,
            "width": self.width,
            "height": self.height,
            "fallback": self.fallback,
            "resize_gravity": self.gravity,
            "include_all": self.include_all,
            "allow_upscale": self.allow_upscale,
            "formats": None if self.formats is None else read_formats(self.formats),
            "renditions": None if self.renditions is None else read_renditions(self.renditions),
        }
        changes = {field: value for field, value in given.items() if value is not None}
        cleared = {name for name, field in LOCATION_FIELDS.items() if field.option in (self.clear or ())}
        cleared |= {"fallback"} if self.no_fallback else set()
        if both := sorted(cleared & changes.keys()):
            raise typer.BadParameter(f"{', '.join(both)}: expected a value or none, got both")
        return changes | dict.fromkeys(cleared)


def read_formats(text: str) -> tuple[Format, ...]:
    """Return the formats of a comma-separated list."""
    known = [format.value for format in Format]
    names = [name.strip().lower() for name in text.split(",")]
    if unknown := [name for name in names if name not in known]:
        raise typer.BadParameter(f"--formats: expected some of {', '.join(known)}, got {unknown[0]!r}")
    return tuple(Format(name) for name in names)


def read_renditions(text: str) -> tuple[Rendition, ...]:
    """Return the renditions of a comma-separated list: 640x360, 640x or x360, each with an optional dpr such as @2.

    >>> read_renditions("640x360@2, 320x")
    (Rendition(width=640, height=360, dpr=2.0), Rendition(width=320, height=None, dpr=1.0))
    """
    return tuple(_rendition(item.strip()) for item in text.split(","))


def _rendition(text: str) -> Rendition:
    found = _RENDITION.fullmatch(text)
    if found is None or text.startswith(("x@", "x,")) or text == "x":
        raise typer.BadParameter(f"--renditions: expected 640x360, 640x or x360, each optionally with @2, got {text!r}")
    width, height = found["width"], found["height"]
    dpr = parse_decimal(found["dpr"] or "1")
    if dpr is None:
        raise typer.BadParameter(f"--renditions: expected a dpr of at most {MAX_CHARACTERS} characters")
    return Rendition(int(width) if width else None, int(height) if height else None, float(dpr))
