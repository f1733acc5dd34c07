"""Mask faults and outages: the log has them in full, the client gets an error id. Refusals stay as they are."""

import logging

from graphql import GraphQLError
from strawberry.exceptions import MissingQueryError
from strawberry.extensions import MaskErrors
from strawberry.schema.exceptions import CannotGetOperationTypeError

from packshot import faults
from packshot.outages import explain_outage
from schema.base.refusals import overloaded
from schema.request.threads import ThreadsBusy

INTERNAL, UNAVAILABLE = "INTERNAL", "UNAVAILABLE"

log = logging.getLogger(__name__)


class MaskBugs(MaskErrors):
    """Replace each error that is not a refusal by an error id, under which the log has the traceback."""

    def __init__(self) -> None:
        super().__init__(should_mask_error=is_bug)

    def anonymise_error(self, error: GraphQLError) -> GraphQLError:
        """Log an error and return the one for the client."""
        cause = _cause(error)
        assert cause is not None
        if error.path is None and (refusal := _refuse_document(cause)) is not None:
            return refusal
        if isinstance(cause, ThreadsBusy):
            later = overloaded(self.execution_context.context, cause)
            return GraphQLError(later.message, nodes=error.nodes, path=error.path, extensions=later.extensions)
        away = explain_outage(cause)
        if away is None:
            error_id = faults.record(log, cause, "fault in GraphQL at %s", _path(error))
            message, code = f"Something went wrong on our side; error id {error_id}.", INTERNAL
        else:
            error_id = faults.record(log, cause, "%s in GraphQL at %s", away, _path(error))
            message, code = f"{away[0].upper()}{away[1:]}; error id {error_id}.", UNAVAILABLE
        return GraphQLError(
            message,
            nodes=error.nodes,
            path=error.path,
            extensions={"code": code, "errorId": error_id},
        )


def _refuse_document(cause: BaseException) -> GraphQLError | None:
    """Return the error for a request that is malformed; None if the client is not at fault."""
    if isinstance(cause, RecursionError):
        return GraphQLError("The document is nested too deep.", extensions={"code": "LIMIT"})
    if isinstance(cause, MissingQueryError):
        return GraphQLError("The request has no `query`.", extensions={"code": "INVALID"})
    if isinstance(cause, CannotGetOperationTypeError):
        return GraphQLError(cause.as_http_error_reason(), extensions={"code": "INVALID"})
    return None


def is_bug(error: GraphQLError) -> bool:
    """Whether an error, however deeply wrapped, was caused by anything but a `GraphQLError`."""
    return _cause(error) is not None


def _cause(error: GraphQLError) -> BaseException | None:
    cause: BaseException | None = error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause


def _path(error: GraphQLError) -> str:
    """Return the fields on the path of an error, at most 200 characters, without list indexes."""
    return ".".join(part for part in error.path or () if isinstance(part, str))[:200]
