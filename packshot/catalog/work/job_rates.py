"""The current rate of a job, from the last seconds that its row records. It falls while no variant ends."""

from datetime import datetime, timedelta
from typing import Protocol

# The window that ends now. A job has the rate 0 if no variant ended within it.
WINDOW = timedelta(seconds=60)
# Between two results the rate changes in steps, so that followers get few updates.
STEP = timedelta(seconds=5)


class Progress(Protocol):
    """The columns of a job from which its rate is computed.

    Attributes:
        rate: variants per second of the last complete period of about ten seconds; None: no period is complete.
        rate_at: start of the current period.
        rate_done: variants that ended in the current period.
        heartbeat_at: when the last variant ended.
    """

    rate: float | None
    rate_at: datetime | None
    rate_done: int
    started_at: datetime | None
    heartbeat_at: datetime | None
    done: int
    skipped: int
    failed: int


def current_rate(job: Progress, now: datetime) -> float | None:
    """Return the variants per second over the window that ends now; None if no variant has ended.

    Args:
        now: by the database's clock, like the times of the job.
    """
    if job.started_at is None or job.heartbeat_at is None:
        return None
    age = max(timedelta(0), now - job.heartbeat_at)
    if age >= WINDOW:
        return 0.0
    at = job.heartbeat_at + age // STEP * STEP
    if job.rate is None:
        # Measured from the last start, so a resumed job begins again.
        begin, ended = job.rate_at or job.started_at, job.rate_done
        if job.rate_at is None:
            ended = job.done + job.skipped + job.failed
        seconds = (at - begin).total_seconds()
        return ended / seconds if ended and seconds > 0 else None
    elapsed = (at - (job.rate_at or job.heartbeat_at)).total_seconds()
    # Assume that the last complete period reaches back to the start of the window.
    before = max(0.0, WINDOW.total_seconds() - elapsed)
    return (job.rate * before + job.rate_done) / max(elapsed, WINDOW.total_seconds())
