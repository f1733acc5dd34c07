"""Modules that the fork server loads once for all render processes.

Importing this module is slow, because it runs other programs to find the C library. Only the fork server imports it.
"""

from packshot.render.processes import child, confine

__all__ = ["child"]

confine.load()
