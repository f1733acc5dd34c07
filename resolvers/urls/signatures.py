"""Signatures of this installation, by a key that only it has."""

import hashlib
import hmac
from functools import lru_cache

from packshot.settings.admin_token import admin_token
from packshot.settings.settings import Settings
from packshot.site import Site


def sign(site: Site, text: str) -> str:
    """Return the signature of a text, in hex. Every process of the installation returns the same one.

    The key is the admin token, so no further key is stored. A signed text begins with a word for its kind, so
    that a signature of one kind is not valid for another.
    """
    return hmac.digest(_key(site.settings), text.encode(), hashlib.sha256).hex()


@lru_cache(maxsize=8)
def _key(settings: Settings) -> bytes:
    # Cached, because a page of packs signs a URL for each original, and the token is in a file.
    return admin_token(settings).encode()


def is_signed(site: Site, text: str, signature: str) -> bool:
    """Whether the signature is that of the text."""
    return hmac.compare_digest(sign(site, text).encode(), signature.encode())
