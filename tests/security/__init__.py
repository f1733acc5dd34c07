"""Tests of attacks by strangers and by other tenants."""
