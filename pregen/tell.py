"""Telling webhooks what happened: a thread that sends what is due, signed by the rules of Standard Webhooks."""

import logging
import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook as Signer

from packshot.catalog import webhooks
from packshot.catalog.webhooks import Claim
from packshot.errors import PackshotError, describe
from packshot.fetch import parse_allowed, post
from packshot.sealing import Purpose, unseal
from packshot.site import Site
from pregen.failures import sort_failure
from pregen.loop import Loop

log = logging.getLogger(__name__)

AT_ONCE = 16
# Of one webhook: one that is slow or dead must leave room for the others.
EACH_AT_ONCE = 2
# Of one tenant, whose addresses may all be slow: none is begun while so many are being sent, and few at a time before.
TENANT_AT_ONCE, TENANT_BEGUN = 8, 4
# One that answers more slowly is told again; it must bear being told twice anyway.
PATIENCE_SECONDS = 10.0


class Teller:
    """Sends due deliveries until it is stopped; any number of processes may have one."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._allowed = parse_allowed(site.settings.fetch_allow or "")
        # Each that ends wakes the loop, so no step waits for any.
        self._loop = Loop("teller", lambda: bool(self._begin()))
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="teller")
        self._lock = threading.Lock()
        self._telling: Counter[tuple[str, str]] = Counter()

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """Begin to send nothing more."""
        self._loop.stop()

    def join(self) -> None:
        """Wait for what is being sent; what is not is due for the next process."""
        self._loop.join()
        self._pool.shutdown()

    def tick(self) -> int:
        """Send some of what is due and wait for it; return how much it was."""
        begun = self._begin()
        for sending in begun:
            sending.result()
        return len(begun)

    def _begin(self) -> list[Future[None]]:
        """Begin to send what is due, as far as there are threads for it."""
        with self._lock:
            room = AT_ONCE - self._telling.total()
            busy = [webhook for webhook, count in self._telling.items() if count >= EACH_AT_ONCE]
            tenants: Counter[str] = Counter()
            for (tenant, _), count in self._telling.items():
                tenants[tenant] += count
        busy_tenants = [tenant for tenant, count in tenants.items() if count >= TENANT_AT_ONCE]
        if room <= 0:
            return []
        # Looked at first: mostly nothing is due, and writers on SQLite queue.
        with self._site.catalog.read("") as tx:
            if not webhooks.is_due(tx):
                return []
        with self._site.catalog.write("") as tx:
            due = webhooks.claim_due(
                tx, limit=room, each=EACH_AT_ONCE, each_tenant=TENANT_BEGUN, busy=busy, busy_tenants=busy_tenants
            )
        with self._lock:
            self._telling.update((tenant, claim.webhook_id) for tenant, claim in due)
        return [self._pool.submit(self._tell, tenant, claim) for tenant, claim in due]

    def _tell(self, tenant: str, claim: Claim) -> None:
        try:
            self._send(tenant, claim)
        except Exception as error:  # noqa: BLE001 - sorted and logged
            self._fail(tenant, claim, error)
        finally:
            with self._lock:
                self._telling[tenant, claim.webhook_id] -= 1
                self._telling += Counter()  # Drops what is at zero.
            self._loop.wake()

    def _send(self, tenant: str, claim: Claim) -> None:
        status, why = None, None
        secret = self._secret(tenant, claim)
        try:
            if secret is None:
                why = "Its secret cannot be decrypted: PACKSHOT_ACCESS_SECRET has changed."
            elif claim.attempt <= webhooks.MAX_ATTEMPTS:
                # Otherwise the process ended in the middle of the last attempt, too.
                status = self._post(claim, secret)
        except PackshotError as error:
            why = describe(error)
            log.info("webhook delivery %s: %s", claim.id, why)
        with self._site.catalog.write(tenant) as tx:
            webhooks.end_attempt(tx, claim, status, why)

    def _secret(self, tenant: str, claim: Claim) -> str | None:
        if claim.sealed is None:
            return claim.secret
        place = f"{tenant}/{claim.webhook_id}"
        secret = unseal(self._site.settings, Purpose.WEBHOOK, place, claim.sealed)
        if secret is None:
            log.error(
                "webhook %s cannot be signed: its secret was encrypted under another PACKSHOT_ACCESS_SECRET,"
                " or another admin token if that is not set",
                place,
            )
        return secret

    def _post(self, claim: Claim, secret: str) -> int:
        moment = datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            # The answer's body is not read. Frameworks that choose its type by this header find one they have.
            "Accept": "application/json, */*;q=0.8",
            "User-Agent": self._site.settings.user_agent,
            "webhook-id": claim.id,
            "webhook-timestamp": str(int(moment.timestamp())),
            "webhook-signature": Signer(secret).sign(claim.id, moment, claim.body),
        }
        return post(claim.url, claim.body.encode(), headers, allowed=self._allowed, seconds=PATIENCE_SECONDS)

    def _fail(self, tenant: str, claim: Claim, error: Exception) -> None:
        failure = sort_failure(log, error, "webhook delivery %s could not be ended", claim.id)
        # After an outage it is due again when its lease runs out.
        if not isinstance(failure, str):
            with self._site.catalog.write(tenant) as tx:
                webhooks.end_after_fault(tx, claim, describe(failure))
