"""The variant ledger and what is derived from it: which variants exist, what they cost, which may be deleted."""
