"""Packs, their pack locations, snapshots of them, and the activation of a change of configuration."""
