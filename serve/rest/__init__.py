"""The REST admin API, `/adminAPI/…`: the endpoints of the service that Packshot replaces."""
