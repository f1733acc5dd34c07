"""Documents as the old service's clients expect them. Fields without a value are left out, as the old service does."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from packshot.geometry import Crop
from packshot.model import IncludeAll, Location, PackLocation, Snapshot
from packshot.variants.change_plan import ChangePlan
from serve.rest import plan_documents

if TYPE_CHECKING:
    from serve.rest.calls import Document

# Fields that a token without the scope `read` may see; `schema.execution.visibility` has the same list for GraphQL.
WITHOUT_READ = frozenset({"id", "name", "tenant", "job", "sequenceNumber"})


def config(location: Location) -> dict[str, Any]:
    """Return a location as an `imageLocationConfig`."""
    return _said(
        name=location.name,
        label=location.label,
        width=location.width,
        height=location.height,
        fallback=location.fallback,
        resizeGravity=_spelled(location.resize_gravity),
        useResizeIncludeAll=_spelled(location.include_all),
        added=moment(location.added_at),
        updated=moment(location.updated_at),
    )


def pack(snapshot: Snapshot) -> dict[str, Any]:
    """Return a pack as an `imagePack`, with the locations that have an original or an override."""
    pack = snapshot.pack
    return _said(
        id=pack.id,
        assetId=pack.asset_id,
        mainImageLocation=pack.main_location,
        imageLocations={
            name: pack_location(each) for name, each in sorted(snapshot.pack_locations.items()) if _says(each)
        },
        useResizeIncludeAll=_spelled(pack.include_all),
        resizeGravity=_spelled(pack.resize_gravity),
        tenant=snapshot.tenant.name,
        created=moment(pack.created_at),
        modified=moment(pack.modified_at),
        sequenceNumber=pack.sequence_number,
    )


def stamped_pack(snapshot: Snapshot) -> dict[str, Any]:
    """Return a pack under an id that no cache knows yet: `<pack>-<unix ms>`."""
    modified = snapshot.pack.modified_at
    return pack(snapshot) | {"id": f"{snapshot.pack.id}-{int(modified.timestamp() * 1000)}"}


def pack_location(pack_location: PackLocation) -> dict[str, Any]:
    """Return the original and the overrides of a pack location."""
    return _said(
        cropInfo=None if pack_location.crop is None else crop(pack_location.crop),
        useResizeIncludeAll=_spelled(pack_location.include_all),
        resizeGravity=_spelled(pack_location.resize_gravity),
    )


def crop(crop: Crop) -> dict[str, float]:
    """Return a crop by its corners."""
    return {"topLeftX": crop.left, "topLeftY": crop.top, "bottomRightX": crop.right, "bottomRightY": crop.bottom}


def plan(plan: ChangePlan) -> dict[str, Any]:
    """Return the cost of a change."""
    return plan_documents.document(plan, spell=_spelled) | {"expiresAt": moment(plan.expires_at)}


def without_read(document: "Document") -> dict[str, Any]:
    """Return the fields that a token without the scope `read` may see.

    >>> without_read({"id": "4f1c", "sequenceNumber": 7, "assetId": 12})
    {'id': '4f1c', 'sequenceNumber': 7}
    """
    assert isinstance(document, dict), "only operations with the scope `read` return a list"
    return {name: value for name, value in document.items() if name in WITHOUT_READ}


def plan_without_read(document: dict[str, Any]) -> dict[str, Any]:
    """Return a plan without current values, which other callers may have set."""
    changes = [{name: value for name, value in each.items() if name != "before"} for each in document["changes"]]
    return document | {"changes": changes}


def moment(value: datetime) -> str:
    """Return a time with milliseconds and `Z`."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def _says(pack_location: PackLocation) -> bool:
    said = (pack_location.original, pack_location.crop, pack_location.resize_gravity)
    return any(each is not None for each in said) or pack_location.include_all is not IncludeAll.UNSET


def _said(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _spelled(value: Any) -> Any:
    if isinstance(value, IncludeAll):
        return value.value.upper()
    return value.value if isinstance(value, StrEnum) else plan_documents.plain(value)
