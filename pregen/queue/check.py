"""Check the queue: whether it carries messages, and whether its server is configured to keep them."""

from dataclasses import dataclass
from typing import Any

from dramatiq import Broker

# Share of the server's memory limit above which the check reports it as nearly full.
NEARLY_FULL = 0.9
_RIGHTS = "`~packshot* +@all -@dangerous +info +keys`"
_URL = "correct PACKSHOT_REDIS_URL"


@dataclass(frozen=True, slots=True)
class QueueProblem:
    """A problem of the queue.

    Attributes:
        reason: the problem, without host names.
        cure: what an operator should do.
        works: whether the queue carries messages in spite of it.
    """

    reason: str
    cure: str
    works: bool


def find_problems(broker: Broker) -> tuple[str, list[QueueProblem]]:
    """Return a short description of the queue, and its problems. A queue in memory has none."""
    from dramatiq.brokers.stub import StubBroker

    if isinstance(broker, StubBroker):
        return "in memory: `packshot serve` runs the jobs", []
    # Imported here, because an installation without Redis does not have the package.
    import redis

    from pregen.queue.redis import ObservedRedisBroker

    assert isinstance(broker, ObservedRedisBroker)
    try:
        broker.check()
    except redis.ConnectionError as error:
        return "", [_explain(error.__cause__ or error)]
    try:
        found: dict[str, Any] = broker.client.info()
    except redis.RedisError:
        text = "carries messages; the user may not call INFO, so its memory, policy and role are not known"
        return text, []
    return _describe(found), _find_risks(found)


def _describe(info: dict[str, Any]) -> str:
    limit, used = info.get("maxmemory", 0), info.get("used_memory", 0)
    memory = f"{used >> 20} of {limit >> 20} MiB used" if limit else f"{used >> 20} MiB used, no limit"
    return f"carries messages; {memory}, {info.get('maxmemory_policy', 'policy not known')}"


def _find_risks(info: dict[str, Any]) -> list[QueueProblem]:
    problems = []
    policy, limit, used = str(info.get("maxmemory_policy", "")), info.get("maxmemory", 0), info.get("used_memory", 0)
    if policy.startswith("allkeys"):
        reason = f"the eviction policy {policy} drops messages when memory is short"
        problems.append(QueueProblem(reason, "set maxmemory-policy to noeviction", works=True))
    if limit and used >= NEARLY_FULL * limit:
        reason = f"nearly full: {100 * used // limit} % of maxmemory is used"
        problems.append(QueueProblem(reason, "raise maxmemory, or move other data elsewhere", works=True))
    if info.get("role") in ("slave", "replica"):
        reason = "a replica: it does not keep what is written to it"
        problems.append(QueueProblem(reason, f"name the primary: {_URL}", works=True))
    return problems


def _explain(error: BaseException) -> QueueProblem:
    """Return the problem behind a failed operation."""
    import redis

    text = str(error).upper()
    reason, cure = "does not answer", f"start it, or {_URL}"
    if isinstance(error, redis.OutOfMemoryError) or "OOM " in text:
        reason, cure = "full: it takes no messages", "raise maxmemory, or remove other data from it"
    elif isinstance(error, redis.ReadOnlyError) or "READONLY" in text:
        reason, cure = "a read-only replica", f"name the primary: {_URL}"
    elif isinstance(error, redis.AuthenticationError) or "NOAUTH" in text or "WRONGPASS" in text:
        reason, cure = "refuses the user or the password", f"{_URL}: redis://user:password@…"
    elif isinstance(error, redis.exceptions.NoPermissionError) or "NOPERM" in text:
        reason, cure = "its user may not do what is needed", f"allow its user {_RIGHTS}"
    elif "MISCONF" in text:
        reason, cure = "refuses writes, because it cannot save to its own disk", "make room on the disk of the server"
    elif isinstance(error, redis.BusyLoadingError):
        reason, cure = "still loads its data", "wait until it has started"
    elif isinstance(error, redis.TimeoutError):
        reason = "does not answer in time"
    elif "DB INDEX" in text or "INVALID DATABASE" in text:
        reason, cure = "has no database of that number", f"{_URL}: its path is the number of a database, such as 0"
    elif isinstance(error, redis.ResponseError):
        reason, cure = "refuses messages", "see the log of this process for its answer"
    return QueueProblem(reason, cure, works=False)
