"""Names under the prefix of live resize that are never those of an image, and the convertors of image paths."""

import re

from starlette.convertors import StringConvertor, register_url_convertor

TOKEN, HEALTH, ROBOTS = "token", "_health", "robots.txt"
OWN_NAMES = (TOKEN, HEALTH, ROBOTS)


class _ImageName(StringConvertor):
    """Any name but those of other routes, so that their paths take the methods of these routes only."""

    regex = rf"(?!(?:{'|'.join(map(re.escape, OWN_NAMES))})\Z)[^/]+"


class _Extension(StringConvertor):
    """What follows the last dot of a path. Trying every dot takes time in the square of the length of a path."""

    regex = "[^/.]+"


register_url_convertor("image_name", _ImageName())
register_url_convertor("extension", _Extension())
