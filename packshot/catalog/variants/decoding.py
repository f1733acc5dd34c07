"""How decoding each original ended: what it took, or why it was refused.

A few bytes can take long to decode, so an original's own cost is kept with it. A refusal is kept for a bounded
time, so that neither another variant nor another process tries again at once.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from packshot.catalog.database.transaction import Tx
from packshot.catalog.tables.artwork import originals
from packshot.errors import PackshotError, dump_error
from packshot.model import Original

# A new measurement counts this much against what is known, unless it is larger.
_WEIGHT = 0.5
# A measurement that differs by less is not written.
_TOLERANCE = 0.2


@dataclass(frozen=True, slots=True)
class Decoding:
    """How decoding one original ended.

    Attributes:
        seconds: CPU time of decoding all its frames; None: not measured.
        failure: why it was refused; None: it was not.
    """

    seconds: float | None = None
    failure: PackshotError | None = None


class DecodingLog:
    """Collects how decodings end until they are written down. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[tuple[str, str], Decoding] = {}

    def add(self, tenant: str, original: Original, found: Decoding) -> None:
        """Note how decoding an original ended, unless that says nothing new."""
        if _is_new(original, found):
            with self._lock:
                self._found[tenant, original.sha256] = found

    def tenants(self) -> set[str]:
        """Return the tenants of which something is to be written."""
        with self._lock:
            return {tenant for tenant, _ in self._found}

    def take(self, tenant: str) -> dict[str, Decoding]:
        """Return what was noted of a tenant's originals since the last time, by SHA-256."""
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
    """Write down how decodings ended. A larger cost counts at once, a smaller one by half."""
    # In one order everywhere, so that two processes do not wait for each other.
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
