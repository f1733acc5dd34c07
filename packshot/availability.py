"""Bound how long callers wait for a service that is locked or silent, regardless of their number."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

# Seconds that other callers wait for the result of the one attempt in progress.
OTHERS_SECONDS = 1.0


class Availability:
    """Make calls of a service fail at once while the service is known not to answer. Thread-safe.

    The first callers wait as long as their own limit allows. When one has failed after `slow_seconds`, the service
    counts as unavailable. From then on one caller at a time tries. The others wait for the first second of its attempt,
    and fail with it or after that second. As soon as the service answers one call, all callers may try.

    Args:
        outage: returns a new exception for the same outage, to raise in another caller; None if the exception is not an
            outage.
        slow_seconds: an outage that is noticed sooner needs no bound.
    """

    def __init__(self, outage: Callable[[Exception], Exception | None], slow_seconds: float) -> None:
        self._outage = outage
        self._slow_seconds = slow_seconds
        self._changed = threading.Condition()
        self._failure: Exception | None = None
        self._probe_began: float | None = None

    @contextmanager
    def trying(self) -> Iterator[bool]:
        """Run the block that calls the service; yield whether this is the one attempt, which should be short.

        Raises:
            Exception: the service is unavailable; the exception that `outage` returns.
        """
        # No lock is taken while the service answers, because all threads of the process pass through here.
        is_probe = False if self._failure is None else self._enter()
        began = time.monotonic()
        try:
            yield is_probe
        except Exception as error:
            failure = self._outage(error)
            if failure is None or is_probe or time.monotonic() - began >= self._slow_seconds:
                self._set(failure)
            raise
        else:
            if self._failure is not None:
                self._set(None)
        finally:
            if is_probe:
                with self._changed:
                    self._probe_began = None
                    self._changed.notify_all()

    def _set(self, failure: Exception | None) -> None:
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def _enter(self) -> bool:
        """Return whether this caller makes the one attempt; False if all callers may try."""
        has_waited = False
        with self._changed:
            while self._failure is not None:
                now = time.monotonic()
                if self._probe_began is None and not has_waited:
                    self._probe_began = now
                    return True
                left = 0.0 if self._probe_began is None else self._probe_began + OTHERS_SECONDS - now
                if left <= 0:
                    raise self._outage(self._failure) or self._failure
                self._changed.wait(left)
                has_waited = True
        return False
