"""Access keys: what opens the pictures of a tenant that does not show them to everybody.

A key opens by being shown, or by having signed the URL. Its digest finds it when
it is shown; to sign, the server needs the key itself, which the database keeps
encrypted under a secret that the database does not have.
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

# So that a key that leaked into a text is found there, and known for what it is.
PREFIX = "psk_"
# Seconds for which a read of the access rules is trusted, and for which while the database does not answer.
FRESH, PATIENT = 1.0, 30.0


def make_secret() -> str:
    """Return a new key: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    """Return by what a key that is shown is found."""
    return sha256(secret.encode()).hexdigest()


def sign(secret: str, tenant: str, path: str, query: str, expires: int) -> str:
    """Return the parameters that open a URL until `expires`, in seconds since 1970.

    Args:
        path: as `Address.path` spells it: without tenant and cache buster.
        query: the request form, as it spells itself.
    """
    return f"expires={expires}&signature={_signature(secret, tenant, path, query, str(expires))}"


def is_signed(secret: str, tenant: str, path: str, query: str, expires: str, signature: str) -> bool:
    """Whether that key signed that URL; takes as long whatever the signature is."""
    return hmac.compare_digest(_signature(secret, tenant, path, query, expires).encode(), signature.encode())


def _signature(secret: str, tenant: str, path: str, query: str, expires: str) -> str:
    text = "\n".join(("packshot-url-1", tenant, path, query, expires))
    return hmac.digest(secret.encode(), text.encode(), sha256).hex()


@dataclass(frozen=True, slots=True)
class TenantAccess:
    """How a tenant's pictures are kept from everybody, or which of them need a signature.

    Attributes:
        required: a key is; else the tenant's blobs are only still where nobody else gets at them, or keys only sign.
        private: the tenant's blobs are where nobody else gets at them.
        signs: other variants than the planned ones need a signature.
        digests: of every key that opens.
        signing: every key that may have signed, newest first.
    """

    required: bool
    private: bool
    signs: bool
    digests: frozenset[str]
    signing: tuple[str, ...]


class AccessPolicy:
    """Which tenants require keys, and which: read once a second, and only where somebody asks.

    Threads may share it. Who is let in is decided by what was read last, even if the
    database is away; where nothing was ever read, nobody is let in.
    """

    def __init__(self, catalog: Catalog, settings: Settings) -> None:
        self._catalog = catalog
        self._settings = settings
        self._lock = threading.Lock()
        self._doors: Mapping[str, TenantAccess] | None = None
        self._read_at = self._until = float("-inf")

    @property
    def is_fresh(self) -> bool:
        """Whether what is known may be believed without asking the database."""
        return self._doors is not None and time.monotonic() < self._until

    def look(self) -> None:
        """Read what is no longer fresh; one thread at a time does.

        Raises:
            DatabaseFault: the database does not answer, and nothing was read before.
        """
        if self.is_fresh or not self._lock.acquire(blocking=self._doors is None):
            return
        try:
            if not self.is_fresh:
                self._read()
        except DatabaseFault:
            if self._doors is None:
                raise
            self._until = time.monotonic() + PATIENT
        finally:
            self._lock.release()

    def _read(self) -> None:
        began = time.monotonic()
        with self._catalog.read_system() as tx:
            guarded = read_access_rules(tx)
        self._doors = {tenant: self._door(tenant, one) for tenant, one in guarded.items()}
        self._read_at, self._until = began, began + FRESH

    def _door(self, tenant: str, guarded: AccessRules) -> TenantAccess:
        keys = guarded.keys
        opened = (unseal(self._settings, Purpose.ACCESS_KEY, f"{tenant}/{key.id}", key.sealed) for key in keys)
        return TenantAccess(
            guarded.required,
            guarded.private,
            guarded.signs,
            frozenset(key.sha256 for key in keys),
            tuple(text for text in opened if text is not None),
        )

    def find(self, tenant: str) -> TenantAccess | None:
        """Return how a tenant's pictures are guarded, as was read last; None: everybody may look."""
        door = self._last(tenant)
        return door if door is not None and door.required else None

    def find_signing(self, tenant: str) -> TenantAccess | None:
        """Return what opens variants of a tenant that are not planned, as was read last; None: nothing needs to."""
        door = self._last(tenant)
        return door if door is not None and (door.required or door.signs) else None

    def is_private(self, tenant: str) -> bool:
        """Whether the tenant's blobs belong where no CDN looks, by what the database said within the last second.

        Raises:
            DatabaseFault: it is away, and says nothing.
        """
        if time.monotonic() - self._read_at >= FRESH:
            with self._lock:
                if time.monotonic() - self._read_at >= FRESH:
                    self._read()
        assert self._doors is not None
        return _is_private(self._doors.get(tenant))

    def is_private_cached(self, tenant: str) -> bool:
        """Whether that was so when it was read last."""
        return _is_private(self._last(tenant))

    def _last(self, tenant: str) -> TenantAccess | None:
        if self._doors is None:
            self.look()
        assert self._doors is not None
        return self._doors.get(tenant)


def _is_private(door: TenantAccess | None) -> bool:
    return door is not None and door.private
