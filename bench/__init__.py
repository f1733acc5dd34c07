"""Measurements beside peers, as ratios in the same run."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
