"""How fast a job is at the moment, from what its row keeps of the last seconds; the figure ages while nothing ends."""

from datetime import datetime, timedelta
from typing import Protocol

# The window that ends now. A job of which nothing has ended for so long has the rate 0.
WINDOW = timedelta(seconds=60)
# Between two ends of work the rate changes in steps, so that a follower is not told of it all the time.
STEP = timedelta(seconds=5)


class Progress(Protocol):
    """The columns of a job that its rate is computed from.

    Attributes:
        rate: variants a second in the last complete stretch of about ten seconds; None: there was none yet.
        rate_at: when the stretch began that is not complete.
        rate_done: variants that ended since then.
        heartbeat_at: when the last one ended.
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
    """Return the variants a second over the window that ends now; None: nothing has ended yet.

    Args:
        now: by the clock of the database, which wrote the moments of the job.
    """
    if job.started_at is None or job.heartbeat_at is None:
        return None
    age = max(timedelta(0), now - job.heartbeat_at)
    if age >= WINDOW:
        return 0.0
    at = job.heartbeat_at + age // STEP * STEP
    if job.rate is None:
        # Work is counted from the last start: a job that was resumed begins again.
        begin, ended = job.rate_at or job.started_at, job.rate_done
        if job.rate_at is None:
            ended = job.done + job.skipped + job.failed
        seconds = (at - begin).total_seconds()
        return ended / seconds if ended and seconds > 0 else None
    elapsed = (at - (job.rate_at or job.heartbeat_at)).total_seconds()
    # The stretch before the one that is not complete is taken to reach back as far as the window does.
    before = max(0.0, WINDOW.total_seconds() - elapsed)
    return (job.rate * before + job.rate_done) / max(elapsed, WINDOW.total_seconds())
