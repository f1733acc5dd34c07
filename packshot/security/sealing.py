"""Secrets that the database keeps encrypted, under a key that the database does not contain.

The key is derived from `PACKSHOT_ACCESS_SECRET`, or else from the admin token, with a separate key for each purpose.
"""

import secrets
from enum import StrEnum
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from packshot.catalog.clients import webhooks
from packshot.catalog.database.transaction import Catalog
from packshot.settings.admin_token import admin_token
from packshot.settings.settings import Settings

_NONCE_BYTES = 12


class Purpose(StrEnum):
    """What a secret is for. The value takes part in deriving its key."""

    ACCESS_KEY = "packshot access keys"
    WEBHOOK = "packshot webhook secrets"


def seal(settings: Settings, purpose: Purpose, place: str, secret: str) -> bytes:
    """Return a secret encrypted for the database. `place` names its row; in another row it cannot be decrypted."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(_key(settings, purpose)).encrypt(nonce, secret.encode(), place.encode())


def unseal(settings: Settings, purpose: Purpose, place: str, sealed: bytes) -> str | None:
    """Return the decrypted secret; None: it was encrypted under another key than the current one."""
    try:
        nonce, text = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        return AESGCM(_key(settings, purpose)).decrypt(nonce, text, place.encode()).decode()
    except InvalidTag:
        return None


def seal_webhooks(catalog: Catalog, settings: Settings) -> int:
    """Encrypt the webhook secrets of all tenants that earlier releases kept in plain text; return how many.

    Harmless to repeat, also by several processes at once. The caller must use the settings of the server.
    """
    with catalog.read_system() as tx:
        if not webhooks.is_any_plain(tx):
            return 0

    def sealed(place: str, secret: str) -> bytes:
        return seal(settings, Purpose.WEBHOOK, place, secret)

    with catalog.write_system() as tx:
        count = webhooks.seal_plain(tx, sealed)
    catalog.empty_log()
    return count


@lru_cache(maxsize=8)
def _key(settings: Settings, purpose: Purpose) -> bytes:
    own = settings.access_secret.get_secret_value() if settings.access_secret else admin_token(settings)
    return HKDF(SHA256(), length=32, salt=None, info=purpose.encode()).derive(own.encode())
