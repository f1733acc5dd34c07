"""The fields of a location: each is described, and survives the database's form of its value."""

from dataclasses import fields

from packshot.catalog.database.rows import dump_fields, load_fields
from packshot.geometry import Gravity
from packshot.model import LOCATION_FIELDS, Format, IncludeAll, LocationFields, Rendition


def test_every_field_is_described_in_the_order_of_the_class() -> None:
    assert list(LOCATION_FIELDS) == [field.name for field in fields(LocationFields)]


def test_no_two_fields_share_a_name_in_an_api_or_on_the_command_line() -> None:
    described = LOCATION_FIELDS.values()
    assert len({field.api_name for field in described}) == len({field.option for field in described}) == len(described)


def test_values_survive_the_form_that_the_database_keeps() -> None:
    full = LocationFields(
        label="Portal cover",
        width=300,
        height=450,
        fallback="main",
        resize_gravity=Gravity.NORTH,
        include_all=IncludeAll.TRUE,
        allow_upscale=True,
        renditions=(Rendition(300, None), Rendition(None, 900, 1.5)),
        formats=(Format.AVIF, Format.JPEG),
    )
    for location in (LocationFields(), full):
        assert load_fields(dump_fields(location.field_values())) == location.field_values()
