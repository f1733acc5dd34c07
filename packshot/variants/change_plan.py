"""The plan of a change of configuration: what the change would cost. `resolvers.changing.plans` computes it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from packshot.errors import ErrorCode, PackshotError
from packshot.variants.change import Change


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field that a change sets, by the core's name. `before` is also None if the location does not exist yet."""

    field: str
    before: Any
    after: Any
    requires_force: bool


@dataclass(frozen=True, slots=True)
class PlanBasis:
    """Digests of what a plan was made for. The plan holds as long as both stay the same.

    Attributes:
        configuration: of the tenant's configuration and its pending change.
        change: of the change, and of the location or tenant that it changes.
    """

    configuration: str
    change: str


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """What a change of configuration would cost.

    Attributes:
        name: the location's name; for a change of tenant defaults, the tenant's.
        base_version: the version that the change starts from; None: the location does not exist yet.
        packs: packs of which at least one image changes or is new.
        render: variants to render.
        reuse: variants that the change needs and that are already stored.
        upscaled: pack locations whose image would be enlarged beyond its own pixels.
        cpu_seconds: CPU time to render, estimated from recent renders.
        wall_seconds: the same, divided among the render processes that this process gives to bulk work.
        bytes: size of the variants to render, estimated from recent renders.
        purge_requests: one for the location or the tenant when the change goes live, and one more after that.
        change: what would go live: the fields that differ, with the pending change of the same location.
        sample_places: packs and locations that samples can show, last modified first.
    """

    id: str
    name: str
    base_version: int | None
    requires_force: bool
    changes: tuple[FieldChange, ...]
    packs: int
    render: int
    reuse: int
    upscaled: int
    cpu_seconds: float
    wall_seconds: float
    bytes: int
    purge_requests: int
    expires_at: datetime
    basis: PlanBasis
    change: Change
    sample_places: tuple[tuple[str, str], ...]


class ForceRequired(PackshotError):
    """The change alters images that packs show. It is made only with `force`.

    Attributes:
        plan: what the change would cost.
    """

    code = ErrorCode.FORCE_REQUIRED

    def __init__(self, message: str, *, plan: ChangePlan, **details: Any) -> None:
        super().__init__(message, **details)
        self.plan = plan
