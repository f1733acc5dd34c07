"""What is said about packs: which, in what order, and what to set."""

from datetime import datetime
from typing import Any

import strawberry

from packshot import geometry, model
from packshot.catalog.packs import packs as catalog
from packshot.errors import Invalid
from resolvers.pack_imports import NewOriginal, NewPack
from schema.base.enums import Gravity, IncludeAll, VariantState, core
from schema.base.inputs import given, sent
from schema.base.paging import check_length
from schema.base.scalars import Long
from schema.types.uploads import OriginalSource


@strawberry.input(description="A rectangle of the upright original: one edge is 0.0, the opposite edge 1.0.")
class CropInput:
    top_left_x: float = strawberry.field(description="The left edge.")
    top_left_y: float = strawberry.field(description="The upper edge.")
    bottom_right_x: float = strawberry.field(description="The right edge, right of the left one.")
    bottom_right_y: float = strawberry.field(description="The lower edge, below the upper one.")

    def to_core(self) -> geometry.Crop:
        return geometry.Crop(
            float(self.top_left_x), float(self.top_left_y), float(self.bottom_right_x), float(self.bottom_right_y)
        )


@strawberry.input(description="A focal point on the upright original, each coordinate from 0.0 to 1.0.")
class FocusInput:
    x: float = strawberry.field(description="From the left edge.")
    y: float = strawberry.field(description="From the upper edge.")

    def to_core(self) -> model.Focus:
        return model.Focus(float(self.x), float(self.y))


@strawberry.input(description="What to change of a pack location. Absent leaves a value as it is, null clears it.")
class PackLocationInput:
    crop: strawberry.Maybe[CropInput | None] = strawberry.field(description="The rectangle to show.")
    focus: strawberry.Maybe[FocusInput | None] = strawberry.field(description="What must not be cut off.")
    resize_gravity: strawberry.Maybe[Gravity | None] = strawberry.field(description="Where a crop is anchored.")
    use_resize_include_all: strawberry.Maybe[IncludeAll | None] = strawberry.field(
        description="Whether the whole picture is shown."
    )

    def values(self) -> dict[str, Any]:
        """Return what to change, by the core's names."""
        return sent(
            {
                "crop": self.crop,
                "focus": self.focus,
                "resize_gravity": self.resize_gravity,
                "include_all": self.use_resize_include_all,
            }
        )


@strawberry.input(description="What to change of one of several pack locations.")
class PackLocationPatch(PackLocationInput):
    location: str = strawberry.field(description="The location's name.")


@strawberry.input(description="An original of a new pack.")
class OriginalInput:
    location: str = strawberry.field(description="The location's name.")
    source: OriginalSource = strawberry.field(
        description="Where the bytes are. What has to be fetched is fetched by a job, after the answer."
    )
    crop: CropInput | None = strawberry.field(default=strawberry.UNSET, description="The rectangle to show.")
    focus: FocusInput | None = strawberry.field(default=strawberry.UNSET, description="What must not be cut off.")

    def to_core(self) -> NewOriginal:
        crop, focus = given(self.crop), given(self.focus)
        return NewOriginal(
            self.location,
            self.source.to_core(),
            None if crop is None else crop.to_core(),
            None if focus is None else focus.to_core(),
        )


@strawberry.input(description="A pack. Absent leaves a value as it is, null clears it.")
class PackInput:
    asset_id: strawberry.Maybe[Long | None] = strawberry.field(description="The asset it belongs to.")
    external_id: strawberry.Maybe[str | None] = strawberry.field(description="What another system calls it.")
    main_location: strawberry.Maybe[str | None] = strawberry.field(
        description="The location shown where none is asked for; null: `main`."
    )
    resize_gravity: strawberry.Maybe[Gravity | None] = strawberry.field(description="Where a crop is anchored.")
    use_resize_include_all: strawberry.Maybe[IncludeAll | None] = strawberry.field(
        description="Whether the whole picture is shown."
    )

    originals: list[OriginalInput] | None = strawberry.field(
        default=strawberry.UNSET, description="Only when creating: its originals, each location once."
    )

    def to_core(self) -> NewPack:
        """Return the pack to be made."""
        return NewPack(self.values(), [original.to_core() for original in given(self.originals) or ()])

    def changes(self) -> dict[str, Any]:
        """Return what to change of a pack that there is.

        Raises:
            Invalid: originals are named; they are set one by one.
        """
        if given(self.originals) is not None:
            raise Invalid("Originals come with a new pack only.", field=("originals",), expected="setOriginal")
        return self.values()

    def values(self) -> dict[str, Any]:
        """Return what to set, by the core's names."""
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


@strawberry.input(one_of=True, description="Which pack: exactly one of these.")
class PackBy:
    id: strawberry.Maybe[strawberry.ID] = strawberry.field(description="Its id.")
    asset_id: strawberry.Maybe[Long] = strawberry.field(description="The asset it belongs to.")
    external_id: strawberry.Maybe[str] = strawberry.field(description="What another system calls it.")


@strawberry.input(description="Which packs to list; what is absent does not narrow.")
class PackFilter:
    asset_ids: list[Long] | None = strawberry.field(
        default=strawberry.UNSET, description="Those of these assets, up to 100."
    )
    external_ids: list[str] | None = strawberry.field(
        default=strawberry.UNSET, description="Those with these external ids, up to 100."
    )
    modified_after: datetime | None = strawberry.field(
        default=strawberry.UNSET, description="Those changed after this moment."
    )
    sequence_after: Long | None = strawberry.field(
        default=strawberry.UNSET, description="Those with a higher sequence number: all that changed since."
    )
    nothing_to_show_at: str | None = strawberry.field(
        default=strawberry.UNSET, description="Those that show nothing at this location, fallbacks included."
    )
    variant_state: VariantState | None = strawberry.field(
        default=strawberry.UNSET,
        description="FAILED: a planned variant cannot be rendered; PENDING: with work to do; READY: with neither.",
    )

    def to_core(self) -> catalog.PackFilter:
        """Return what narrows the listing.

        Raises:
            Limit: a list is longer than a page.
        """
        for values, name in ((self.asset_ids, "asset_ids"), (self.external_ids, "external_ids")):
            check_length(given(values) or (), "filter", name)
        state = given(self.variant_state)
        return catalog.PackFilter(
            asset_ids=given(self.asset_ids),
            external_ids=given(self.external_ids),
            modified_after=given(self.modified_after),
            sequence_after=given(self.sequence_after),
            nothing_to_show_at=given(self.nothing_to_show_at),
            variant_state=None if state is None else core(state),
        )
