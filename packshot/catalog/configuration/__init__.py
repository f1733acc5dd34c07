"""Tenants, their locations, and their pending change of configuration."""
