"""Packs: their locations, snapshots, shapes and change feed, and the activation of a change of configuration."""
