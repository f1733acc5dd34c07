"""What the fork server loads once, so that each render process need not.

To import this module takes long: it searches for the C library with other programs. Nothing but the fork server does.
"""

from packshot.render.processes import child, confine

__all__ = ["child"]

confine.load()
