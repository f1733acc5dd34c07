"""Tenants, their locations, and the change of configuration that is in preparation."""
