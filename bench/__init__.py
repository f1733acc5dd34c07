"""Measurements of Packshot beside peers, as ratios within one run."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
