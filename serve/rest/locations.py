"""REST endpoints of locations: `imageLocationConfig` of the old service."""

from packshot.errors import Invalid, NotFound
from packshot.model import NAME
from resolvers import locations
from resolvers.changing.decision import Activation, Consent
from serve.rest import documents, fields
from serve.rest.calls import Call, Document


def list_configs(call: Call) -> Document:
    """Return every location of the tenant."""
    return [documents.config(location) for location in locations.all_locations(call.caller)]


def get_config(call: Call) -> Document:
    """Return one location.

    Raises:
        NotFound: the location does not exist.
    """
    name = call.path["name"]
    found = locations.get_location(call.caller, name) if NAME.fullmatch(name) else None
    if found is None:
        raise NotFound(f"There is no location {name!r}.", field=("name",), got=name)
    return documents.config(found)


def put_config(call: Call) -> Document:
    """Create or change a location. A forced change is live with the response, as clients of the old service expect.

    Raises:
        PackshotError: see `resolvers.locations.put_location`.
    """
    name = call.path["name"]
    if call.body.get("name", name) != name:
        raise Invalid(
            "The name in the body differs from the name in the path.",
            field=("name",),
            expected=name,
            got=call.body["name"],
        )
    values = fields.read(call.body, fields.LOCATION)
    consent = Consent(force=call.force, activation=Activation.IMMEDIATE)
    return documents.config(locations.put_location(call.caller, name, values, consent).location)


def delete_config(call: Call) -> Document:
    """Delete a location.

    Raises:
        PackshotError: see `resolvers.locations.delete_location`.
    """
    name = call.path["name"]
    locations.delete_location(call.caller, name, force=call.force)
    return {"name": name}
