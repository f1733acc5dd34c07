"""Parse and validate documents, and cache the result of documents in use."""

from collections import OrderedDict
from collections.abc import Iterator

from graphql import ASTValidationRule, DocumentNode, GraphQLError, GraphQLSchema, parse
from strawberry.extensions import SchemaExtension
from strawberry.schema.schema import validate_document

from schema.execution.limits import MAX_TOKENS, refuse_shape

# A token of a parsed document takes about 700 bytes.
MAX_CACHED_TOKENS = 50_000


class _Entry:
    def __init__(self, document: DocumentNode) -> None:
        self.document = document
        self.tokens = document.token_count
        self.errors: dict[tuple[type[ASTValidationRule], ...], list[GraphQLError]] = {}


class Documents:
    """The most recently used documents, parsed, with their validation errors.

    Args:
        max_tokens: the total number of tokens to cache; the newest document is always kept.
    """

    def __init__(self, max_tokens: int = MAX_CACHED_TOKENS) -> None:
        self._max_tokens = max_tokens
        self._tokens = 0
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def parse(self, query: str) -> DocumentNode:
        """Return a parsed document.

        Raises:
            GraphQLError: it has a syntax error, or too many tokens.
        """
        return self._find(query).document

    def validate(
        self, schema: GraphQLSchema, query: str, rules: tuple[type[ASTValidationRule], ...]
    ) -> list[GraphQLError]:
        """Return the validation errors of a document; empty if it is valid."""
        entry = self._find(query)
        if rules not in entry.errors:
            refusal = refuse_shape(entry.document)
            entry.errors[rules] = [refusal] if refusal else validate_document(schema, entry.document, rules)
        return entry.errors[rules]

    def _find(self, query: str) -> _Entry:
        entry = self._entries.get(query)
        if entry is None:
            entry = self._entries[query] = _Entry(parse(query, max_tokens=MAX_TOKENS))
            self._tokens += entry.tokens
            while self._tokens > self._max_tokens and len(self._entries) > 1:
                self._tokens -= self._entries.popitem(last=False)[1].tokens
        self._entries.move_to_end(query)
        return entry


documents = Documents()


class ParseAndValidate(SchemaExtension):
    """Take parsed documents and their errors from the cache `documents`."""

    def on_parse(self) -> Iterator[None]:
        execution = self.execution_context
        assert execution.query is not None
        execution.graphql_document = documents.parse(execution.query)
        yield

    def on_validate(self) -> Iterator[None]:
        execution = self.execution_context
        assert execution.query is not None
        # A copy, because other extensions append to it.
        execution.pre_execution_errors = list(
            documents.validate(execution.schema._schema, execution.query, execution.validation_rules)
        )
        yield
