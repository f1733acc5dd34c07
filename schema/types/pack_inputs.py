"""GraphQL inputs for packs: selection, filters, order and values."""

from datetime import datetime
from typing import Any

import strawberry

from packshot import geometry, model
from packshot.catalog.packs import listing
from packshot.errors import Invalid
from resolvers.pack_imports import NewOriginal, NewPack
from schema.base.enums import Gravity, IncludeAll, VariantState, core
from schema.base.inputs import given, sent
from schema.base.paging import check_length
from schema.base.scalars import Long
from schema.types.uploads import OriginalSource


@strawberry.input(
    description="A rectangle on the upright original; coordinates from 0.0 (left, top) to 1.0 (right, bottom). The "
    "right half is "
    "`{topLeftX: 0.5, topLeftY: 0, bottomRightX: 1, bottomRightY: 1}`."
)
class CropInput:
    top_left_x: float = strawberry.field(description="The left edge.")
    top_left_y: float = strawberry.field(description="The top edge.")
    bottom_right_x: float = strawberry.field(description="The right edge; greater than the left one.")
    bottom_right_y: float = strawberry.field(description="The bottom edge; greater than the top one.")

    def to_core(self) -> geometry.Crop:
        return geometry.Crop(
            float(self.top_left_x), float(self.top_left_y), float(self.bottom_right_x), float(self.bottom_right_y)
        )


@strawberry.input(
    description="The focus: the point of the upright original that a crop should keep; coordinates from 0.0 (left, "
    "top) to 1.0."
)
class FocusInput:
    x: float = strawberry.field(description="Distance from the left edge, as a fraction of the width.")
    y: float = strawberry.field(description="Distance from the top edge, as a fraction of the height.")

    def to_core(self) -> model.Focus:
        return model.Focus(float(self.x), float(self.y))


@strawberry.input(description="Changes of a pack location. An absent field stays unchanged; null clears it.")
class PackLocationInput:
    crop: strawberry.Maybe[CropInput | None] = strawberry.field(description="The rectangle to show.")
    focus: strawberry.Maybe[FocusInput | None] = strawberry.field(description="The point that a crop should keep.")
    resize_gravity: strawberry.Maybe[Gravity | None] = strawberry.field(
        description="Which part of the image a crop keeps."
    )
    use_resize_include_all: strawberry.Maybe[IncludeAll | None] = strawberry.field(
        description="Whether the whole image is shown, padded."
    )

    def values(self) -> dict[str, Any]:
        """Return the values to set, by the core's names."""
        return sent(
            {
                "crop": self.crop,
                "focus": self.focus,
                "resize_gravity": self.resize_gravity,
                "include_all": self.use_resize_include_all,
            }
        )


@strawberry.input(
    description="Changes of one of several pack locations. An absent field stays unchanged; null clears it."
)
class PackLocationPatch(PackLocationInput):
    location: str = strawberry.field(description="The name of the location.")


@strawberry.input(description="An original of a new pack.")
class OriginalInput:
    location: str = strawberry.field(description="The name of the location.")
    source: OriginalSource = strawberry.field(
        description="The source of the bytes. A job fetches URLs after the response."
    )
    crop: CropInput | None = strawberry.field(default=strawberry.UNSET, description="The rectangle to show.")
    focus: FocusInput | None = strawberry.field(
        default=strawberry.UNSET, description="The point that a crop should keep."
    )

    def to_core(self) -> NewOriginal:
        crop, focus = given(self.crop), given(self.focus)
        return NewOriginal(
            self.location,
            self.source.to_core(),
            None if crop is None else crop.to_core(),
            None if focus is None else focus.to_core(),
        )


@strawberry.input(description="The values of a pack. An absent field stays unchanged; null clears it.")
class PackInput:
    asset_id: strawberry.Maybe[Long | None] = strawberry.field(
        description="The number of the asset, such as 4711; unique within the tenant."
    )
    external_id: strawberry.Maybe[str | None] = strawberry.field(
        description="Its id in another system, such as `film-4711`; unique within the tenant."
    )
    main_location: strawberry.Maybe[str | None] = strawberry.field(
        description="The location that a URL without `location` shows. Other locations without an original use its "
        "original. Null: `main`."
    )
    resize_gravity: strawberry.Maybe[Gravity | None] = strawberry.field(
        description="Which part of the image a crop keeps."
    )
    use_resize_include_all: strawberry.Maybe[IncludeAll | None] = strawberry.field(
        description="Whether the whole image is shown, padded."
    )

    originals: list[OriginalInput] | None = strawberry.field(
        default=strawberry.UNSET, description="Only for a new pack: its originals, each location once."
    )

    def to_core(self) -> NewPack:
        """Return the pack to create."""
        return NewPack(self.values(), [original.to_core() for original in given(self.originals) or ()])

    def changes(self) -> dict[str, Any]:
        """Return the changes of an existing pack.

        Raises:
            Invalid: originals are given; `setOriginal` sets them one by one.
        """
        if given(self.originals) is not None:
            raise Invalid("Originals can only be given for a new pack.", field=("originals",), expected="setOriginal")
        return self.values()

    def values(self) -> dict[str, Any]:
        """Return the values to set, by the core's names."""
        values = sent(
            {
                "asset_id": self.asset_id,
                "external_id": self.external_id,
                "main_location": self.main_location,
                "resize_gravity": self.resize_gravity,
                "include_all": self.use_resize_include_all,
            }
        )
        if values.get("include_all", model.IncludeAll.UNSET) is None:
            values["include_all"] = model.IncludeAll.UNSET
        return values


@strawberry.input(one_of=True, description="How a pack is identified: exactly one of these.")
class PackBy:
    id: strawberry.Maybe[strawberry.ID] = strawberry.field(description="Its id.")
    asset_id: strawberry.Maybe[Long] = strawberry.field(description="The number of its asset, such as 4711.")
    external_id: strawberry.Maybe[str] = strawberry.field(description="Its id in another system, such as `film-4711`.")


@strawberry.input(description="Which packs to list; absent fields do not narrow the list.")
class PackFilter:
    asset_ids: list[Long] | None = strawberry.field(
        default=strawberry.UNSET, description="Packs with these asset numbers, up to 100."
    )
    external_ids: list[str] | None = strawberry.field(
        default=strawberry.UNSET, description="Packs with these external ids, up to 100."
    )
    modified_after: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="Packs modified after this moment."
    )
    sequence_after: Long | None = strawberry.field(
        default=strawberry.UNSET, description="Packs with a higher sequence number: those that changed since."
    )
    nothing_to_show_at: str | None = strawberry.field(
        default=strawberry.UNSET, description="Packs that have nothing to show at this location, even by a fallback."
    )
    variant_state: VariantState | None = strawberry.field(
        default=strawberry.UNSET,
        description="FAILED: a planned variant cannot be rendered; PENDING: work is left; READY: neither.",
    )

    def to_core(self) -> listing.PackFilter:
        """Return the filter as a core value.

        Raises:
            Limit: a list is longer than a page.
        """
        for values, name in ((self.asset_ids, "asset_ids"), (self.external_ids, "external_ids")):
            check_length(given(values) or (), "filter", name)
        state = given(self.variant_state)
        return listing.PackFilter(
            asset_ids=given(self.asset_ids),
            external_ids=given(self.external_ids),
            modified_after=given(self.modified_after),
            sequence_after=given(self.sequence_after),
            nothing_to_show_at=given(self.nothing_to_show_at),
            variant_state=None if state is None else core(state),
        )
