"""Results of decoding originals: CPU seconds, or the refusal.

A few bytes can take long to decode, so each original keeps its own cost. A refusal is kept for a limited time, so that
no other variant and no other process retries at once.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.artwork import originals
from packshot.errors import PackshotError, dump_error
from packshot.model import Original

# The weight of a new measurement that is not larger than the known value.
_WEIGHT = 0.5
# Smaller relative differences are not written.
_TOLERANCE = 0.2


@dataclass(frozen=True, slots=True)
class Decoding:
    """The result of decoding one original.

    Attributes:
        seconds: CPU time of decoding all frames; None: not measured.
        failure: why it was refused; None: it succeeded.
    """

    seconds: float | None = None
    failure: PackshotError | None = None


class DecodingLog:
    """Collects decoding results until they are written. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], Decoding] = {}

    def add(self, tenant: str, original: Original, found: Decoding) -> None:
        """Add the result of decoding an original, if it differs from the known one."""
        if _is_new(original, found):
            with self._lock:
                self._found[tenant, original.sha256] = found

    def tenants(self) -> set[str]:
        """Return the tenants with results to write."""
        with self._lock:
            return {tenant for tenant, _ in self._found}

    def take(self, tenant: str) -> dict[str, Decoding]:
        """Return and remove a tenant's results, by SHA-256."""
        with self._lock:
            keys = [key for key in self._found if key[0] == tenant]
            return {key[1]: self._found.pop(key) for key in keys}


def _is_new(original: Original, found: Decoding) -> bool:
    if found.failure is not None:
        return original.recent_failure is None
    if original.failure is not None:
        return True
    known = original.decoding_seconds
    return found.seconds is not None and (known is None or abs(found.seconds - known) > known * _TOLERANCE)


def write_decodings(tx: Tx, found: Mapping[str, Decoding]) -> None:
    """Write decoding results. A larger cost replaces the known one; a smaller one is averaged with it."""
    # Sorted, so that two processes do not deadlock.
    for sha256, decoding in sorted(found.items()):
        values: dict[str, object] = {"failure": None, "failed_at": None}
        if decoding.failure is not None:
            values = {"failure": dump_error(decoding.failure), "failed_at": tx.now}
        elif decoding.seconds is not None:
            known = sa.func.coalesce(originals.c.decoding_seconds, decoding.seconds)
            mean = known * (1 - _WEIGHT) + decoding.seconds * _WEIGHT
            values["decoding_seconds"] = sa.case((known > decoding.seconds, mean), else_=decoding.seconds)
        conditions = (originals.c.tenant_id == tx.tenant, originals.c.sha256 == sha256)
        tx.connection.execute(sa.update(originals).where(*conditions).values(values))
