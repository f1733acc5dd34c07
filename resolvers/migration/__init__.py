"""Moving here from the services that Packshot takes the place of."""
