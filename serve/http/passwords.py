"""HTTP Basic: passwords against Argon2 hashes, a few at a time, with a back-off for wrong ones."""

import asyncio
import hmac
import secrets
from base64 import b64decode
from functools import partial
from hashlib import sha256

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from schema.request.threads import ThreadPool
from serve.http.backoff import LoginBackoff

MAX_PASSWORD_BYTES = 1024
# Argon2id as OWASP recommends it for servers with little memory: 19 MiB for each hash.
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class WrongPassword(Exception):
    """No such user, or not that password; nobody learns which."""


class Passwords:
    """Checks passwords. One that was right is not hashed again; the same at the same time is hashed once.

    Args:
        hashes: by user.
        threads: for the hashing.
    """

    def __init__(self, hashes: dict[str, str], threads: ThreadPool) -> None:
        self._hashes = hashes
        self._names = sorted(hashes)
        self._threads = threads
        self._secret = secrets.token_bytes(32)
        self._right: dict[str, bytes] = {}
        self._checks: dict[bytes, asyncio.Task[bool]] = {}
        self.backoff = LoginBackoff()

    async def user(self, credentials: str, address: str) -> str:
        """Return the name in Base64 credentials whose password is right.

        Raises:
            WrongPassword: it is not.
            ThreadsBusy: too many wrong ones came, or too many wait to be checked.
        """
        if not self._hashes:
            raise WrongPassword
        name, password = _decode(credentials)
        account, digest = self._digest(name.encode()).hex(), self._digest(f"{name}\0{password}".encode())
        self.backoff.check_pair(account, address)
        if name in self._right and hmac.compare_digest(self._right[name], digest):
            self.backoff.passed(account, address)
            return name
        if not await self._check(name, password, digest, account, address):
            raise WrongPassword
        self._right[name] = digest
        self.backoff.passed(account, address)
        return name

    async def _check(self, name: str, password: str, digest: bytes, account: str, address: str) -> bool:
        flight = digest + address.encode()
        check = self._checks.get(flight)
        if check is None:
            self.backoff.begin(account, address)
            check = asyncio.create_task(self._count(name, password, account, address))
            self._checks[flight] = check
            check.add_done_callback(partial(self._end, flight))
        # Who leaves does not end it for the others.
        return await asyncio.shield(check)

    def _end(self, flight: bytes, check: asyncio.Task[bool]) -> None:
        del self._checks[flight]
        # Looked at, as everybody who waited may be gone.
        if not check.cancelled():
            check.exception()

    async def _count(self, name: str, password: str, account: str, address: str) -> bool:
        try:
            is_right = await self._threads.run(self._verify, name, password)
        except BaseException:
            self.backoff.undo(account, address)
            raise
        if is_right:
            self.backoff.undo(account, address)
        return is_right

    def _verify(self, name: str, password: str) -> bool:
        # For an unknown name somebody else's hash is computed, always the same, so that it takes as long.
        number = int.from_bytes(self._digest(name.encode())[:8]) % len(self._names)
        try:
            HASHER.verify(self._hashes.get(name) or self._hashes[self._names[number]], password)
        except (VerificationError, InvalidHashError):
            return False
        return name in self._hashes

    def _digest(self, text: bytes) -> bytes:
        return hmac.digest(self._secret, text, sha256)


def _decode(credentials: str) -> tuple[str, str]:
    try:
        name, colon, password = b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:
        # Not Base64, not UTF-8, or characters beyond ASCII.
        raise WrongPassword from None
    if not colon or len(password.encode()) > MAX_PASSWORD_BYTES:
        raise WrongPassword
    return name, password
