"""The renderer: geometry, colour, damage, containment."""
