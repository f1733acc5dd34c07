"""Access keys, which open the images of tenants that do not show them to every client.

A client presents the key itself, or a URL that was signed with it. A presented key is found by its digest. To verify
signatures, the server needs the key itself; the database keeps it encrypted under a secret that it does not contain.
"""

import hmac
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from packshot.catalog.clients.access_keys import AccessRules, read_access_rules
from packshot.catalog.database.transaction import Catalog, DatabaseFault
from packshot.security.sealing import Purpose, unseal
from packshot.settings.settings import Settings

# Makes a leaked key easy to find and recognise in a text.
PREFIX = "psk_"
# Seconds for which the access rules that were read last are trusted: normally, and while the database does not answer.
FRESH, PATIENT = 1.0, 30.0


def make_secret() -> str:
    """Return a new key: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    """Return the digest by which a presented key is found."""
    return sha256(secret.encode()).hexdigest()


def sign(secret: str, tenant: str, path: str, query: str, expires: int) -> str:
    """Return the query parameters that open a URL until `expires`, in seconds since 1970.

    Args:
        path: as in `Address.path`, without tenant and cache buster.
        query: the request form, in its canonical spelling.
    """
    return f"expires={expires}&signature={_signature(secret, tenant, path, query, str(expires))}"


def is_signed(secret: str, tenant: str, path: str, query: str, expires: str, signature: str) -> bool:
    """Whether this key signed this URL. Takes the same time for any signature."""
    return hmac.compare_digest(_signature(secret, tenant, path, query, expires).encode(), signature.encode())


def _signature(secret: str, tenant: str, path: str, query: str, expires: str) -> str:
    text = "\n".join(("packshot-url-1", tenant, path, query, expires))
    return hmac.digest(secret.encode(), text.encode(), sha256).hex()


@dataclass(frozen=True, slots=True)
class TenantAccess:
    """Which requests for a tenant's images need a key or a signature.

    Attributes:
        required: every request needs a key. False: only signatures are checked, or the objects are only still
        private.
        private: the tenant's variants are in the private store.
        signs: unplanned variants need a signature.
        digests: digests of all valid keys.
        signing: all keys that may have signed a URL, newest first.
    """

    required: bool
    private: bool
    signs: bool
    digests: frozenset[str]
    signing: tuple[str, ...]


class AccessPolicy:
    """Which tenants require keys, and which keys; read at most once a second, and only when needed.

    Threads may share it. It decides by the rules that were read last, even while the database is down. If rules were
    never read, every request fails.
    """

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self._catalog = catalog
        self._settings = settings
        self._lock = threading.Lock()
        self._access: Mapping[str, TenantAccess] | None = None
        self._read_at = self._fresh_until = float("-inf")

    @property
    def is_fresh(self) -> bool:
        """Whether the rules that were read last are recent enough to use without reading the database."""
        return self._access is not None and time.monotonic() < self._fresh_until

    def look(self) -> None:
        """Read the rules if they are no longer fresh; one thread at a time does.

        Raises:
            DatabaseFault: the database does not answer, and rules were never read.
        """
        if self.is_fresh or not self._lock.acquire(blocking=self._access is None):
            return
        try:
            if not self.is_fresh:
                self._read()
        except DatabaseFault:
            if self._access is None:
                raise
            self._fresh_until = time.monotonic() + PATIENT
        finally:
            self._lock.release()

    def _read(self) -> None:
        began = time.monotonic()
        with self._catalog.read_system() as tx:
            rules_of_tenants = read_access_rules(tx)
        self._access = {tenant: self._access_of(tenant, rules) for tenant, rules in rules_of_tenants.items()}
        self._read_at, self._fresh_until = began, began + FRESH

    def _access_of(self, tenant: str, rules: AccessRules) -> TenantAccess:
        keys = rules.keys
        secrets_of_keys = (unseal(self._settings, Purpose.ACCESS_KEY, f"{tenant}/{key.id}", key.sealed) for key in keys)
        return TenantAccess(
            rules.required,
            rules.private,
            rules.signs,
            frozenset(key.sha256 for key in keys),
            tuple(text for text in secrets_of_keys if text is not None),
        )

    def find(self, tenant: str) -> TenantAccess | None:
        """Return the access rules of a tenant that requires keys, as read last; None: no key is needed."""
        access = self._last_read(tenant)
        return access if access is not None and access.required else None

    def find_signing(self, tenant: str) -> TenantAccess | None:
        """Return the access rules for a tenant's unplanned variants, as read last; None: none is needed."""
        access = self._last_read(tenant)
        return access if access is not None and (access.required or access.signs) else None

    def is_private(self, tenant: str) -> bool:
        """Whether the tenant's variants belong in the private store, as of the last second.

        Raises:
            DatabaseFault: the database does not answer.
        """
        if time.monotonic() - self._read_at >= FRESH:
            with self._lock:
                if time.monotonic() - self._read_at >= FRESH:
                    self._read()
        assert self._access is not None
        return _is_private(self._access.get(tenant))

    def is_private_cached(self, tenant: str) -> bool:
        """Whether the tenant's variants belonged in the private store when the rules were read last."""
        return _is_private(self._last_read(tenant))

    def _last_read(self, tenant: str) -> TenantAccess | None:
        if self._access is None:
            self.look()
        assert self._access is not None
        return self._access.get(tenant)


def _is_private(access: TenantAccess | None) -> bool:
    return access is not None and access.private
