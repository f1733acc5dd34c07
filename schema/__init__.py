"""The GraphQL admin API: types, inputs, payloads and limits. Only this package turns core values into GraphQL types."""
