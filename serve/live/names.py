"""Reserved names under the prefix of live resize, and path convertors for image names."""

import re

from starlette.convertors import StringConvertor, register_url_convertor

TOKEN, HEALTH, ROBOTS = "token", "_health", "robots.txt"
OWN_NAMES = (TOKEN, HEALTH, ROBOTS)


class _ImageName(StringConvertor):
    """Any name except reserved ones, so that a reserved path takes only the methods of its own route."""

    regex = rf"(?!(?:{'|'.join(map(re.escape, OWN_NAMES))})\Z)[^/]+"


class _Extension(StringConvertor):
    """The part of a path after its last dot. Trying every dot would take quadratic time."""

    regex = "[^/.]+"


register_url_convertor("image_name", _ImageName())
register_url_convertor("extension", _Extension())
