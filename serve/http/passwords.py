"""Check passwords of HTTP Basic against Argon2 hashes, with few threads and a back-off."""

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
# Argon2id with OWASP's parameters for servers with little memory: 19 MiB per hash.
HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class WrongPassword(Exception):
    """The user does not exist or the password is wrong; the client does not learn which."""


class Passwords:
    """Checks passwords. A right password is hashed once, and parallel checks of the same password share one hash.

    Args:
        hashes: password hashes by user name.
        threads: run the hashing.
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
        """Return the user name in Base64 credentials, after checking the password.

        Raises:
            WrongPassword: the user does not exist or the password is wrong.
            ThreadsBusy: too many attempts failed, or too many wait for their check.
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
        # A client that disconnects must not cancel the check for others.
        return await asyncio.shield(check)

    def _end(self, flight: bytes, check: asyncio.Task[bool]) -> None:
        del self._checks[flight]
        # Retrieve the exception, because no client may be left to do it.
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
        # An unknown name is checked against another user's hash, always the same one, so that it takes as long.
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
        # Not Base64, not UTF-8, or not ASCII.
        raise WrongPassword from None
    if not colon or len(password.encode()) > MAX_PASSWORD_BYTES:
        raise WrongPassword
    return name, password
