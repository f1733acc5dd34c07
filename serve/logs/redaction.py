"""What is kept out of the access log: whatever in a URL opens something."""

import logging
import re

from packshot.variants.request import SECRETS

# An address to fetch from may have been signed.
FETCHED = "imageurl"
# Escapes may hide a name, so each of its characters may be one.
_NAMES = "|".join(
    "".join(f"(?:{re.escape(letter)}|%{ord(letter):02x}|%{ord(letter.upper()):02x})" for letter in name)
    for name in (*SECRETS, FETCHED)
)
_SECRET = re.compile(rf"([?&](?:{_NAMES})=)[^&\s]*", re.IGNORECASE)


def redact(url: str) -> str:
    """Return a URL without the values of access keys and signatures, and without an address in it."""
    # Most arguments of a line have no query, and the pattern is slow.
    return _SECRET.sub(r"\1[redacted]", url) if "?" in url or "&" in url else url


class Redaction(logging.Filter):
    """Redacts every text in a record of the access log."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(redact(one) if isinstance(one, str) else one for one in record.args)
        return True
