"""Purgers against CDNs."""
