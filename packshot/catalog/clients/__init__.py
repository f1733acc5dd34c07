"""Rows that belong to API clients: tokens, access keys, uploads, webhooks, idempotency keys."""
