"""Variants: request form, variant plan, fingerprint and key. All functions are pure."""
