"""Tenants, locations, packs, originals, orders, jobs and the variant ledger: the only SQL."""
