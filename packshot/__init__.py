"""The core of Packshot: no HTTP, no queue, no GraphQL."""
