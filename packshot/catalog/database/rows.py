"""Convert rows to the values of `packshot.model`, and back."""

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from packshot.catalog.tables.artwork import location_versions, locations, originals, pack_locations, packs, tenants
from packshot.errors import load_error
from packshot.geometry import Crop, Gravity
from packshot.model import (
    LOCATION_FIELDS,
    Focus,
    FormatPolicy,
    IncludeAll,
    Location,
    LocationVersion,
    OnDemand,
    Original,
    Pack,
    PackLocation,
    Tenant,
)

Row = Any  # the type checker does not know a row's columns


def prefixed(table: sa.Table, prefix: str) -> Iterable[sa.Label[Any]]:
    """Return the table's columns under names that do not collide in a join."""
    return (column.label(f"{prefix}_{column.name}") for column in table.c)


def tenant_columns() -> Iterable[sa.Label[Any]]:
    return prefixed(tenants, "t")


def location_columns() -> Iterable[sa.Label[Any]]:
    return (*prefixed(locations, "l"), *prefixed(location_versions, "v"))


def pack_columns() -> Iterable[sa.Label[Any]]:
    return prefixed(packs, "p")


def pack_location_columns() -> Iterable[sa.Label[Any]]:
    return (*prefixed(pack_locations, "s"), *prefixed(originals, "o"))


def gravity(value: str | None) -> Gravity | None:
    return None if value is None else Gravity(value)


def to_tenant(row: Row) -> Tenant:
    return Tenant(
        name=row.t_id,
        version=row.t_version,
        resize_gravity=Gravity(row.t_resize_gravity),
        include_all=row.t_include_all,
        format_policy=FormatPolicy(row.t_format_policy),
        keep_credits=row.t_keep_credits,
        on_demand=OnDemand(row.t_on_demand),
        unplanned_bytes=row.t_unplanned_bytes,
    )


def to_location(row: Row) -> Location:
    return Location(
        **_location_fields(row, "v_"),
        name=row.l_name,
        version=row.l_version,
        revision=row.l_revision,
        added_at=row.l_added_at,
        updated_at=row.v_active_from,
    )


def to_version(row: Row) -> LocationVersion:
    return LocationVersion(
        **_location_fields(row, ""),
        version=row.version,
        active_from=row.active_from,
        active_to=row.active_to,
        changed_by=row.changed_by,
        revert_renders_all=row.revert_renders_all,
    )


def _location_fields(row: Row, prefix: str) -> dict[str, Any]:
    return {name: field.load(getattr(row, prefix + name)) for name, field in LOCATION_FIELDS.items()}


def load_fields(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a location from a JSON document that `dump_fields` returned."""
    return {name: LOCATION_FIELDS[name].load(value) for name, value in kept.items()}


def dump_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields of a location in the form that its columns and JSON documents store."""
    return {name: LOCATION_FIELDS[name].dump(value) for name, value in fields.items()}


def to_pack(row: Row) -> Pack:
    return Pack(
        id=row.p_id,
        version=row.p_version,
        sequence_number=row.p_sequence_number,
        asset_id=row.p_asset_id,
        external_id=row.p_external_id,
        main_location=row.p_main_location,
        resize_gravity=gravity(row.p_resize_gravity),
        include_all=IncludeAll(row.p_include_all),
        created_at=row.p_created_at,
        modified_at=row.p_modified_at,
    )


def to_pack_location(row: Row) -> PackLocation:
    return PackLocation(
        pack_id=row.s_pack_id,
        location=row.s_location,
        version=row.s_version,
        original=None if row.o_sha256 is None else to_original(row),
        original_at=row.s_original_at,
        crop=None
        if row.s_crop_left is None
        else Crop(row.s_crop_left, row.s_crop_top, row.s_crop_right, row.s_crop_bottom),
        focus=None if row.s_focus_x is None else Focus(row.s_focus_x, row.s_focus_y),
        resize_gravity=gravity(row.s_resize_gravity),
        include_all=IncludeAll(row.s_include_all),
        revision=row.s_revision,
    )


def to_original(row: Row) -> Original:
    return Original(
        sha256=row.o_sha256,
        width=row.o_width,
        height=row.o_height,
        bytes=row.o_bytes,
        format=row.o_format,
        alpha=row.o_alpha,
        frames=row.o_frames,
        thumbhash=row.o_thumbhash,
        dominant_color=row.o_dominant_color,
        quality=row.o_quality,
        decoding_seconds=row.o_decoding_seconds,
        decode_revision=row.o_decode_revision,
        failure=None if row.o_failure is None else load_error(row.o_failure),
        failed_at=row.o_failed_at,
    )
