"""Persisted queries: not supported, and refused in the words that make clients send the query itself."""

from typing import Any

from graphql import GraphQLError


def refuse_persisted(query: object, extensions: Any) -> GraphQLError | None:
    """Return the refusal of a request that has the hash of a query and no query; None: it is no such request.

    A query that comes along with its hash is run.
    """
    if query or not isinstance(extensions, dict) or "persistedQuery" not in extensions:
        return None
    # Apollo Client looks at the code or the message, urql at the message alone; both then send queries in full.
    return GraphQLError("PersistedQueryNotSupported", extensions={"code": "PERSISTED_QUERY_NOT_SUPPORTED"})
