"""Decimal numbers from clients, rounded to one canonical value.

A browser reports `devicePixelRatio` as 1.100000023841858, and other languages write the same binary number with
up to 1,074 decimals. Rounding works on decimal digits, so that Python here and JavaScript at a CDN's edge
(infra/edge/route.js) give the same number for every text.
"""

import math
import re
from decimal import ROUND_HALF_UP, Context, Decimal

# Decimals of a canonical number. The first dropped digit decides: 5 to 9 round up.
DECIMAL_PLACES = 9
# A double written out in full has at most 1,074 decimals.
MAX_CHARACTERS = 1100

_PLAIN = re.compile(r"[0-9]+(\.[0-9]+)?")
_UNIT = Decimal(1).scaleb(-DECIMAL_PLACES)
_CONTEXT = Context(prec=MAX_CHARACTERS + DECIMAL_PLACES)


def parse_decimal(text: str) -> Decimal | None:
    """Return a plain decimal number of at most 1,100 characters, rounded half up to nine decimals; None if it is not
    one.

    Plain means ASCII digits, optionally with a point and more digits. Leading zeros are ignored. Signs, exponents,
    spaces, and a point without digits on both sides are refused.

    >>> parse_decimal("1.100000023841858"), parse_decimal("007"), parse_decimal("1e3")
    (Decimal('1.100000024'), Decimal('7.000000000'), None)
    """
    if len(text) > MAX_CHARACTERS or not _PLAIN.fullmatch(text):
        return None
    return Decimal(text).quantize(_UNIT, ROUND_HALF_UP, _CONTEXT)


def round_number(number: float) -> float:
    """Round a number from JSON as `parse_decimal` rounds its shortest spelling.

    >>> round_number(1.100000023841858)
    1.100000024
    """
    if not math.isfinite(number):
        return number
    return float(Decimal(str(number)).quantize(_UNIT, ROUND_HALF_UP, _CONTEXT))
