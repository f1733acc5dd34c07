"""Telling webhooks what happened: a thread that sends what is due, signed by the rules of Standard Webhooks."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook as Signer

from packshot.catalog import webhooks
from packshot.catalog.webhooks import Claim
from packshot.errors import PackshotError
from packshot.fetch import parse_allowed, post
from packshot.site import Site

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
AT_ONCE = 8
# One that answers more slowly is told again; it must bear being told twice anyway.
PATIENCE_SECONDS = 10.0


class Teller:
    """Sends due deliveries until it is stopped; any number of processes may have one."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._allowed = parse_allowed(site.settings.fetch_allow or "")
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="teller", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send nothing more; what is being sent ends, and what is not is due for the next process."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(2 * PATIENCE_SECONDS)

    def tick(self) -> int:
        """Send what is due, a few at a time; return how many were tried."""
        with self._site.catalog.write("") as tx:
            due = webhooks.claim_due(tx, limit=AT_ONCE)
        if not due:
            return 0
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="teller") as pool:
            list(pool.map(lambda one: self._send(*one), due))
        return len(due)

    def _run(self) -> None:
        while not self._stopping:
            try:
                more = self.tick() == AT_ONCE
            except Exception:
                # Whatever was claimed is due again when its lease runs out.
                log.exception("webhooks could not be told")
                more = False
            if not more:
                self._wake.wait(TICK_SECONDS)

    def _send(self, tenant: str, claim: Claim) -> None:
        moment = datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            "webhook-id": claim.id,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": Signer(claim.secret).sign(claim.id, moment, claim.body),
        }
        status = None
        try:
            status = post(claim.url, claim.body.encode(), headers, allowed=self._allowed, seconds=PATIENCE_SECONDS)
        except PackshotError as error:
            log.info("webhook delivery %s: %s", claim.id, error)
        with self._site.catalog.write(tenant) as tx:
            webhooks.end_attempt(tx, claim, status)
