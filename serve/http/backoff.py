"""Back-off for wrong credentials: repeated failures are answered 429, with growing pauses.

The counters belong to this process. The least recently used ones are dropped.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from schema.request.threads import ThreadsBusy

# Seconds after the last pause until a counter is dropped.
WINDOW_SECONDS = 60.0
MAX_PAUSE_SECONDS = 60.0
MAX_COUNTERS = 10_000

# Failures without a pause.
TOKENS_OF_ADDRESS = 20
PASSWORDS_OF_ACCOUNT_AND_ADDRESS = 5
PASSWORDS_OF_ADDRESS = 20
# A botnet guesses from many addresses, but a single attacker must not lock out a user.
PASSWORDS_OF_ACCOUNT = 100


@dataclass(slots=True)
class _Counter:
    """The failures of one key.

    Attributes:
        until: time when the current pause ends; without a pause, the time of the last failure.
    """

    failures: int
    until: float


class Backoff:
    """Counts failures by key. From the `free`th on, each failure starts a pause: 1 s, 2 s, 4 s, up to a minute.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, free: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._free = free
        self._clock = clock
        self._counters: OrderedDict[str, _Counter] = OrderedDict()

    def pause(self, key: str) -> float:
        """Return the seconds left of the key's pause; 0: there is none."""
        counter = self._counters.get(key)
        return 0.0 if counter is None or counter.failures < self._free else max(0.0, counter.until - self._clock())

    def fail(self, key: str) -> float:
        """Count a failure and return the length of the pause after it."""
        now = self._clock()
        counter = self._counters.pop(key, None)
        if counter is None or now - counter.until > WINDOW_SECONDS:
            counter = _Counter(0, now)
        counter.failures += 1
        excess = counter.failures - self._free
        pause = 0.0 if excess < 0 else min(MAX_PAUSE_SECONDS, 2.0 ** min(excess, 30))
        counter.until = now + pause
        self._counters[key] = counter
        if len(self._counters) > MAX_COUNTERS:
            self._counters.popitem(last=False)
        return pause

    def undo(self, key: str) -> None:
        """Take back one failure that was counted before the outcome was known, with its pause."""
        counter = self._counters.get(key)
        if counter is not None:
            counter.failures -= 1
            counter.until = self._clock()

    def forgive(self, key: str) -> None:
        """Drop the failures of a key."""
        self._counters.pop(key, None)

    def __len__(self) -> int:
        return len(self._counters)


class TokenBackoff:
    """Back-off for tokens of all kinds, by address.

    A right token is always accepted. Tokens have too many bits to be guessed, and a program with an expired token must
    not lock out others at its address. During a pause only wrong tokens get 429.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._addresses = Backoff(TOKENS_OF_ADDRESS, clock)

    def check(self, address: str) -> None:
        """Raise `ThreadsBusy` while an address is paused. For secrets that are short enough to be guessed."""
        if pause := self._addresses.pause(address):
            raise too_many(pause)

    def failed(self, address: str) -> None:
        """Count a wrong token.

        Raises:
            ThreadsBusy: this address sent too many.
        """
        if pause := self._addresses.fail(address):
            raise too_many(pause)

    def passed(self, address: str) -> None:
        """Drop the failures of an address that has sent a right token."""
        self._addresses.forgive(address)


class LoginBackoff:
    """Back-off for passwords: by account and address, by address, and with a high limit by account.

    An attempt is counted before its password is checked, so that parallel attempts gain nothing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._pairs = Backoff(PASSWORDS_OF_ACCOUNT_AND_ADDRESS, clock)
        self._addresses = Backoff(PASSWORDS_OF_ADDRESS, clock)
        self._accounts = Backoff(PASSWORDS_OF_ACCOUNT, clock)
        # Pairs with a successful login. An attack on the account from elsewhere does not affect them.
        self._good: OrderedDict[str, None] = OrderedDict()

    def check_pair(self, account: str, address: str) -> None:
        """Raise `ThreadsBusy` while an account is paused for this address, even if the password is right."""
        if pause := self._pairs.pause(_pair(account, address)):
            raise too_many(pause)

    def begin(self, account: str, address: str) -> None:
        """Count an attempt before its password is checked.

        Raises:
            ThreadsBusy: the address or the account is paused; the attempt is not counted.
        """
        pair = _pair(account, address)
        pauses = [self._addresses.pause(address)]
        if pair not in self._good:
            pauses.append(self._accounts.pause(account))
        if pause := max(pauses):
            raise too_many(pause)
        self._pairs.fail(pair)
        self._addresses.fail(address)
        self._accounts.fail(account)

    def passed(self, account: str, address: str) -> None:
        """Drop an account's failures from an address after a successful login."""
        pair = _pair(account, address)
        self._pairs.forgive(pair)
        self._good[pair] = None
        self._good.move_to_end(pair)
        if len(self._good) > MAX_COUNTERS:
            self._good.popitem(last=False)

    def undo(self, account: str, address: str) -> None:
        """Take back an attempt whose password was right or was not checked."""
        self._pairs.undo(_pair(account, address))
        self._addresses.undo(address)
        self._accounts.undo(account)


def too_many(seconds: float) -> ThreadsBusy:
    """Return the refusal of an attempt during a pause."""
    return ThreadsBusy(429, "TOO_MANY_ATTEMPTS", "Too many wrong credentials came from this client.", seconds)


def network_of(host: str | None) -> str:
    """Return the network under which an address is counted: IPv4 by address, IPv6 by /64, the size of one customer.

    >>> network_of("2001:db8:1:2:3:4:5:6"), network_of("::ffff:192.0.2.1"), network_of(None)
    ('2001:db8:1:2::/64', '192.0.2.1', 'local')
    """
    try:
        address = ip_address((host or "").partition("%")[0])
    except ValueError:
        return host or "local"
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped if mapped is not None else ip_network((address, 64), strict=False))
    return str(address)


def _pair(account: str, address: str) -> str:
    return f"{address} {account}"
