"""Persisted queries are not supported. The refusal makes clients send the query itself."""

from typing import Any

from graphql import GraphQLError


def refuse_persisted(query: object, extensions: Any) -> GraphQLError | None:
    """Return the refusal of a request that has only the hash of a query; None for any other request.

    A query that comes with its hash is executed.
    """
    if query or not isinstance(extensions, dict) or "persistedQuery" not in extensions:
        return None
    # Apollo Client checks the code or the message, urql only the message; both then send full queries.
    return GraphQLError("PersistedQueryNotSupported", extensions={"code": "PERSISTED_QUERY_NOT_SUPPORTED"})
