"""Bugs are logged in full and shown as an id only; whatever was refused on purpose is shown."""

import logging
import secrets

from graphql import GraphQLError
from strawberry.extensions import MaskErrors

log = logging.getLogger(__name__)


class MaskBugs(MaskErrors):
    """Replaces what nobody raised on purpose by an id, under which the log has the traceback."""

    def __init__(self) -> None:
        super().__init__(should_mask_error=is_bug)

    def anonymise_error(self, error: GraphQLError) -> GraphQLError:
        error_id = secrets.token_hex(8)
        log.error("error id %s at %s", error_id, error.path, exc_info=error.original_error)
        return GraphQLError(
            f"Something went wrong on our side; error id {error_id}.",
            nodes=error.nodes,
            path=error.path,
            extensions={"code": "INTERNAL", "errorId": error_id},
        )


def is_bug(error: GraphQLError) -> bool:
    """Whether an error came from anything but a `GraphQLError`, however deep it was wrapped."""
    cause: BaseException | None = error
    while isinstance(cause, GraphQLError):
        cause = cause.original_error
    return cause is not None
