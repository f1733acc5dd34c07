"""Demand: unplanned variants that clients request, in the terms of renditions. All functions are pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction

from packshot.geometry import Request, half_up
from packshot.model import Format, Location, Rendition
from packshot.variants.draft import DEFAULT_FORMATS, asked_size, effective_renditions, rendition_form
from packshot.variants.request import RequestForm, parse_request


@dataclass(frozen=True, slots=True)
class DemandedForm:
    """A form that clients requested at one location, for any pack.

    Attributes:
        request: the request form without its location, as a query string.
        format: the rendered format; the same request may give another format for another pack.
    """

    tenant: str
    location: str
    format: Format
    request: str


@dataclass(frozen=True, slots=True)
class CountedDemand:
    """How often a form was requested and rendered on demand, and when last."""

    form: DemandedForm
    requests: int
    last_requested_at: datetime


@dataclass(frozen=True, slots=True)
class Demand:
    """Demand at one location in the numbers of a rendition.

    Attributes:
        parameters: the parameters that a rendition of that size does not express, as a query string.
    """

    width: int | None
    height: int | None
    dpr: float
    parameters: str
    format: Format
    requests: int
    last_requested_at: datetime


def summarise(config: Location, counted: Iterable[CountedDemand]) -> list[Demand]:
    """Return the demand at a location that no rendition covers, most requested first.

    Different spellings of one request are combined.
    """
    found: dict[tuple[Request, str, Format], Demand] = {}
    planned = {_box(asked_size(rendition_form(rendition), config)) for rendition in effective_renditions(config)}
    formats = config.formats or DEFAULT_FORMATS
    for one in counted:
        form = parse_request(one.form.request)
        size, parameters = asked_size(form, config), _parameters(form, config)
        if not parameters and one.form.format in formats and _box(size) in planned:
            continue
        demand = Demand(
            size.width,
            size.height,
            float(size.scale),
            parameters,
            one.form.format,
            one.requests,
            one.last_requested_at,
        )
        place = (size, parameters, one.form.format)
        found[place] = _together(found[place], demand) if place in found else demand
    return sorted(found.values(), key=lambda demand: (-demand.requests, demand.parameters, demand.width or 0))


def _together(one: Demand, other: Demand) -> Demand:
    last = max(one.last_requested_at, other.last_requested_at)
    return replace(one, requests=one.requests + other.requests, last_requested_at=last)


def _parameters(form: RequestForm, config: Location) -> str:
    rest = replace(form, location=None, width=None, height=None, dpr=None, format=None, location_ratio=None)
    size = asked_size(form, config)
    # A rendition's missing side follows the location's ratio; a request's does so only with `location-ratio`.
    if size != asked_size(_like(size), config):
        rest = replace(rest, location_ratio=False)
    return rest.query()


def _like(size: Request) -> RequestForm:
    return rendition_form(Rendition(size.width, size.height, float(size.scale)))


def _box(size: Request) -> tuple[object, ...]:
    """Return the part of a size that decides the variant's size: 320 x 180 at a dpr of 2 equals 640 x 360."""
    sides = tuple(None if side is None else half_up(side * size.scale) for side in (size.width, size.height))
    return (*sides, size.ratio, size.scale if sides == (None, None) else Fraction(1))
