"""The REST admin face, `/adminAPI/…`: the endpoints of the service that Packshot takes the place of."""
