"""Outgoing HTTP to addresses that clients name: checked, bounded, decoded."""
