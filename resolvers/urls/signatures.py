"""Signatures of what this installation has given out, by a key that only it has."""

import hashlib
import hmac
from functools import lru_cache

from packshot.settings.admin_token import admin_token
from packshot.settings.settings import Settings
from packshot.site import Site


def sign(site: Site, text: str) -> str:
    """Return the signature of `text`, in hex: the same from every process of the installation.

    It is made from the admin's token, so that it need not be kept anywhere to be told again.
    What is signed begins with a word for its kind, so that no signature is good for another.
    """
    return hmac.digest(_key(site.settings), text.encode(), hashlib.sha256).hex()


@lru_cache(maxsize=8)
def _key(settings: Settings) -> bytes:
    # A page of packs signs an address for each original; the token stands in a file.
    return admin_token(settings).encode()


def is_signed(site: Site, text: str, signature: str) -> bool:
    """Whether `sign` gave that signature to that text."""
    return hmac.compare_digest(sign(site, text).encode(), signature.encode())
