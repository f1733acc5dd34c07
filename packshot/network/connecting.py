"""Connect to the first of several addresses that accepts a TCP connection.

Attempts overlap, as RFC 8305 ("Happy Eyeballs") recommends: a dead address costs a quarter of a second, not a
timeout. The addresses are those that the caller has checked; no name is resolved here.
"""

import errno
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address

# The next address is tried when an attempt fails, or after this many seconds.
STAGGER_SECONDS = 0.25
# With this many open attempts, the oldest is closed for the next address. It has had two seconds.
MAX_OPEN_ATTEMPTS = 8
# Faults of this machine; other addresses would fail as well.
LOCAL_FAULTS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


def interleave(addresses: Sequence[Address]) -> list[Address]:
    """Order addresses so that IPv6 and IPv4 alternate, beginning with the family of the first one.

    >>> from ipaddress import ip_address
    >>> [str(a) for a in interleave([ip_address(t) for t in ("::1", "::2", "::3", "192.0.2.1")])]
    ['::1', '192.0.2.1', '::2', '::3']
    """
    distinct = list(dict.fromkeys(addresses))
    first = [address for address in distinct if address.version == distinct[0].version]
    other = [address for address in distinct if address.version != distinct[0].version]
    rounds = max(len(first), len(other))
    return [queue[number] for number in range(rounds) for queue in (first, other) if number < len(queue)]


def connect_to_first(addresses: Sequence[Address], port: int, seconds: float) -> socket.socket:
    """Return a blocking socket that is connected to one of the addresses.

    Args:
        seconds: limit for all attempts together.

    Raises:
        TimeoutError: no address answered in time.
        OSError: every address refused (this is the last one's error), or this machine lacks a resource.
    """
    deadline = time.monotonic() + seconds
    waiting, attempts = deque(interleave(addresses)), deque[socket.socket]()
    failure: OSError = TimeoutError("no address accepted a connection in time")
    try:
        with selectors.DefaultSelector() as selector:
            next_start = time.monotonic()
            while waiting or attempts:
                now = time.monotonic()
                if now >= deadline:
                    raise TimeoutError("no address accepted a connection in time") from failure
                if waiting and (now >= next_start or not attempts):
                    if len(attempts) == MAX_OPEN_ATTEMPTS:
                        _take_out(attempts[0], attempts, selector).close()
                    try:
                        attempts.append(_begin(waiting.popleft(), port))
                    except OSError as error:
                        failure = _unless_local(error)
                        continue
                    selector.register(attempts[-1], selectors.EVENT_WRITE)
                    next_start = now + STAGGER_SECONDS
                until = min(deadline, next_start) if waiting else deadline
                for key, _ in selector.select(max(0.0, until - now)):
                    assert isinstance(key.fileobj, socket.socket)
                    attempt = _take_out(key.fileobj, attempts, selector)
                    code = attempt.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if code == 0:
                        attempt.setblocking(True)
                        return attempt
                    attempt.close()
                    failure = _unless_local(OSError(code, os.strerror(code)))
                    next_start = now
        raise failure
    finally:
        for attempt in attempts:
            attempt.close()


def _begin(address: Address, port: int) -> socket.socket:
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    attempt = socket.socket(family, socket.SOCK_STREAM)
    try:
        attempt.setblocking(False)
        attempt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = attempt.connect_ex((str(address), port))
        if code not in (0, errno.EINPROGRESS):
            raise OSError(code, os.strerror(code))
    except BaseException:
        attempt.close()
        raise
    return attempt


def _take_out(
    attempt: socket.socket, attempts: deque[socket.socket], selector: selectors.BaseSelector
) -> socket.socket:
    selector.unregister(attempt)
    attempts.remove(attempt)
    return attempt


def _unless_local(error: OSError) -> OSError:
    """Return the fault of one address; raise a fault of this machine."""
    if error.errno in LOCAL_FAULTS:
        raise error
    return error
