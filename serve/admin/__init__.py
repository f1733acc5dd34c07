"""GraphQL over HTTP and WebSocket, uploads, originals and reports."""
