"""Migration of the locations of the image service."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from packshot.catalog.configuration import locations as location_rows
from packshot.errors import PackshotError
from packshot.model import Location
from packshot.variants.change import Change
from packshot.variants.change_plan import ForceRequired
from resolvers import locations
from resolvers.caller import Caller
from resolvers.changing.changes import plan_if_needed
from resolvers.changing.configuration import read_configuration
from resolvers.changing.decision import Activation, Consent
from resolvers.migration.report import NEWER_HERE, Report
from resolvers.migration.vimond.documents import OldLocation, in_order, map_names, read_location
from resolvers.migration.vimond.service import VimondService


@dataclass(frozen=True, slots=True)
class Options:
    """Options of the migration from the image service.

    Attributes:
        originals: a copy of its bucket, `<pack>/<location>`; None: images come from client URLs.
        width: width in pixels that these URLs request.
        force: overwrite later changes here, and activate changes that alter variants.
    """

    originals: Path | None = None
    width: int = 4096
    force: bool = False
    dry_run: bool = False
    threads: int = 4


@dataclass(frozen=True, slots=True)
class LocationNames:
    """The old service's locations.

    Attributes:
        names: new name by old name.
        fallbacks: fallback by location, both by old names.
        known: the locations here, including those that a dry run would create.
    """

    names: Mapping[str, str]
    fallbacks: Mapping[str, str]
    known: Mapping[str, Location]

    def name_of(self, old: str) -> str | None:
        """Return the new name of an old location; None: it was not migrated."""
        name = self.names.get(old)
        return name if name in self.known else None

    def chain(self, old: str) -> list[str]:
        """Return the fallback chain of a location, by old names."""
        chain: list[str] = []
        while (following := self.fallbacks.get(chain[-1] if chain else old)) is not None:
            chain.append(following)
        return chain


def migrate_locations(caller: Caller, service: VimondService, options: Options, report: Report) -> LocationNames:
    """Migrate the location configs, each after its fallback.

    Raises:
        Away, Forbidden, Invalid: the old service does not send them.
    """
    found: dict[str, OldLocation] = {}
    for index, document in enumerate(service.locations()):
        name = document.get("name") if isinstance(document, dict) else None
        shown = str(name or f"number {index + 1}")
        try:
            old = read_location(document)
        except PackshotError as error:
            report.left("location", shown, error)
        except Exception as error:  # noqa: BLE001 - noted, logged, or raised again
            report.unforeseen("location", shown, error)
        else:
            found[old.name] = old
    names = map_names(found)
    for old_name, name in names.items():
        if name != old_name:
            report.mapped("location", old_name, name, "Clients must use its new name.")
    with caller.site.catalog.read(caller.tenant) as tx:
        known = location_rows.get_locations(tx)
    ordered = in_order(found, report)
    created: dict[str, Mapping[str, Any]] = {}
    for old in ordered:
        fallback = old.values["fallback"]
        values = {**old.values, "fallback": None if fallback is None else names[fallback]}
        try:
            _migrate_location(caller, names[old.name], replace(old, values=values), known, created, options, report)
        except ForceRequired as error:
            fields = ", ".join(change.field for change in error.plan.changes if change.requires_force)
            why = f"Packs here show variants at it that another {fields} would alter; --force changes it at once."
            report.left("location", old.name, why, error.code.value)
        except PackshotError as error:
            report.left("location", old.name, error)
        except Exception as error:  # noqa: BLE001 - noted, logged, or raised again
            report.unforeseen("location", old.name, error)
    fallbacks = {old.name: old.values["fallback"] for old in ordered if old.values["fallback"] is not None}
    return LocationNames(names, fallbacks, known)


def _migrate_location(
    caller: Caller,
    name: str,
    old: OldLocation,
    known: dict[str, Location],
    created: dict[str, Mapping[str, Any]],
    options: Options,
    report: Report,
) -> None:
    """Create or change one location, and record the result in `known`."""
    existing = known.get(name)
    if existing is not None:
        differing = [field for field, value in old.values.items() if getattr(existing, field) != value]
        if not differing:
            report.counts["locationsUnchanged"] += 1
            return
        # Every tenant begins with `main`, so a `main` here is not a user's later change.
        is_born = name == "main" and existing.version == 1
        if not is_born and not options.force and old.updated is not None and old.updated <= existing.updated_at:
            why = f"It differs here in {', '.join(differing)}, and was changed later; --force overwrites it."
            report.left("location", old.name, why, NEWER_HERE)
            return
    if options.dry_run:
        known[name] = _foresee_location(caller, name, old, known, created, options)
    else:
        consent = Consent(force=options.force, activation=Activation.IMMEDIATE)
        changed = locations.put_location(caller, name, old.values, consent)
        known[name] = changed.location
        if changed.job is not None:
            report.jobs[changed.job.id] += 1
    report.counts["locationsCreated" if existing is None else "locationsChanged"] += 1


def _foresee_location(
    caller: Caller,
    name: str,
    old: OldLocation,
    known: Mapping[str, Location],
    created: dict[str, Mapping[str, Any]],
    options: Options,
) -> Location:
    """Return the location that an edit would yield, or raise its refusal."""
    fields = location_rows.read_changes(known, name, old.values, limit=caller.site.limit)
    existing = known.get(name)
    if existing is None:
        created[name] = fields
        now = datetime.now(UTC)
        return Location(name=name, version=0, revision=0, added_at=now, updated_at=now, **fields)
    with caller.site.catalog.read(caller.tenant) as tx:
        change = Change(locations={**created, name: fields})
        plan = plan_if_needed(caller.site, tx, read_configuration(tx), change, name)
    if plan is not None and plan.requires_force and not options.force:
        raise ForceRequired("This change alters variants that packs show.", expected="--force", plan=plan)
    return replace(existing, **fields)
