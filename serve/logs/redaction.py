"""Redaction of the access log: values in URLs that grant access."""

import logging
import re

from packshot.variants.request import SECRETS

# The URL of an import may be signed.
FETCHED = "imageurl"
# Each character of a name may be percent-encoded.
_NAMES = "|".join(
    "".join(f"(?:{re.escape(letter)}|%{ord(letter):02x}|%{ord(letter.upper()):02x})" for letter in name)
    for name in (*SECRETS, FETCHED)
)
_SECRET = re.compile(rf"([?&](?:{_NAMES})=)[^&\s]*", re.IGNORECASE)


def redact(url: str) -> str:
    """Return a URL without the values of access keys and signatures, and without a URL in its query."""
    # Most arguments have no query, and the pattern is slow.
    return _SECRET.sub(r"\1[redacted]", url) if "?" in url or "&" in url else url


class Redaction(logging.Filter):
    """Redacts all texts of an access log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(redact(one) if isinstance(one, str) else one for one in record.args)
        return True
