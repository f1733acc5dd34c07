"""Recognise camera raw files, which hold sensor data and small previews.

Most of them begin like a TIFF file, so a TIFF reader would take a preview for the image.
"""

import re

from packshot.render.formats.tiff_tags import (
    COMPRESSION,
    DNG_VERSION,
    MAKE,
    PHOTOMETRIC,
    Directory,
    directories,
)

_SIGNATURES = tuple(
    (name, re.compile(pattern, re.DOTALL))
    for name, pattern in (
        ("Canon CR2", rb"(II\*\0|MM\0\*)....CR"),
        ("Canon CR3", rb"....ftypcrx "),
        ("Canon CRW", rb"(II|MM)....HEAP(CCDR|JPGM)"),
        ("Olympus ORF", rb"IIR[OS]|MMOR"),
        ("Panasonic RW2", rb"IIU\0"),
        ("Fujifilm RAF", rb"FUJIFILMCCD-RAW"),
        ("Minolta MRW", rb"\0MRM"),
        ("Sigma X3F", rb"FOVb"),
        ("Phase One IIQ", rb"(II\*\0|MM\0\*)....(IIII|MMMM)"),
    )
)

# Photometric interpretations: colour filter array, and linear raw of DNG.
_SENSOR_PHOTOMETRICS = {32803, 34892}
# Compressions of Sony, Samsung, Nikon, Kodak and Pentax.
_SENSOR_COMPRESSIONS = {32767, 32770, 34713, 65000, 65535}
# CFARepeatPatternDim and CFAPattern of TIFF/EP, and Leaf's mosaic pattern.
_SENSOR_TAGS = {33421, 33422, 34310}

_BY_MAKE = (
    ("nikon", "Nikon NEF"),
    ("sony", "Sony ARW"),
    ("pentax", "Pentax PEF"),
    ("ricoh", "Pentax PEF"),
    ("samsung", "Samsung SRW"),
    ("hasselblad", "Hasselblad 3FR"),
    ("epson", "Epson ERF"),
    ("seiko epson", "Epson ERF"),
    ("kodak", "Kodak DCR"),
    ("eastman kodak", "Kodak DCR"),
    ("mamiya", "Mamiya MEF"),
    ("leaf", "Leaf MOS"),
    ("canon", "Canon"),
)


def camera_raw(data: bytes) -> str | None:
    """Return the name of the camera raw format of a file, by its first bytes and tags; None if it is no camera raw
    file.
    """
    head = data[:32]
    for name, signature in _SIGNATURES:
        if signature.match(head):
            return name
    if not re.match(rb"II[*+]\0|MM\0[*+]", head):
        return None
    found = list(directories(data))
    if any(DNG_VERSION in directory.entries for directory in found[:1]):
        return "DNG"
    if not any(map(_is_of_sensor, found)):
        return None
    make = next(filter(None, (directory.text(MAKE) for directory in found)), "")
    return next((name for start, name in _BY_MAKE if make.lower().startswith(start)), make or "TIFF/EP")


def _is_of_sensor(directory: Directory) -> bool:
    return (
        directory.number(PHOTOMETRIC, 0) in _SENSOR_PHOTOMETRICS
        or directory.number(COMPRESSION, 1) in _SENSOR_COMPRESSIONS
        or not _SENSOR_TAGS.isdisjoint(directory.entries)
    )
