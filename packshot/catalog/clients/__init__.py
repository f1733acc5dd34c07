"""Rows of API clients: tokens, access keys, uploads, webhooks, idempotency keys."""
