"""The GraphQL admin API: types, inputs, payloads and limits. Core values become GraphQL types only here."""
