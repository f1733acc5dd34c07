"""Telling webhooks what happened: a thread that sends what is due, signed by the rules of Standard Webhooks."""

import logging
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

from standardwebhooks.webhooks import Webhook as Signer

from packshot.catalog.clients import webhook_deliveries
from packshot.catalog.clients.webhook_deliveries import WebhookClaim
from packshot.errors import PackshotError, describe
from packshot.network.fetch import parse_allowed, post
from packshot.security.sealing import Purpose, unseal
from packshot.site import Site
from pregen.refreshing.failures import classify_failure
from pregen.services.service import Loop

log = logging.getLogger(__name__)

MAX_SENDS = 16
# Of one webhook: one that is slow or dead must leave room for the others.
MAX_PER_WEBHOOK = 2
# Of one tenant, whose addresses may all be slow: none is begun while so many are being sent, and few at a time before.
TENANT_AT_ONCE, TENANT_BEGUN = 8, 4
# One that answers more slowly is told again; it must bear being told twice anyway.
PATIENCE_SECONDS = 10.0


class WebhookSender:
    """Sends due deliveries until it is stopped; any number of processes may have one."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._allowed = parse_allowed(site.settings.fetch_allow or "")
        # Each that ends wakes the loop, so no step waits for any.
        self._loop = Loop("teller", lambda: bool(self._begin()))
        self._pool = ThreadPoolExecutor(MAX_SENDS, thread_name_prefix="teller")
        self._lock = threading.Lock()
        self._delivering: Counter[tuple[str, str]] = Counter()

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """Begin to send nothing more."""
        self._loop.stop()

    def join(self) -> None:
        """Wait for what is being sent; what is not is due for the next process."""
        self._loop.join()
        self._pool.shutdown()

    def send_due(self) -> int:
        """Send some of what is due and wait for it; return how much it was."""
        begun = self._begin()
        for sending in begun:
            sending.result()
        return len(begun)

    def _begin(self) -> list[Future[None]]:
        """Begin to send what is due, as far as there are threads for it."""
        with self._lock:
            room = MAX_SENDS - self._delivering.total()
            busy = [webhook for webhook, count in self._delivering.items() if count >= MAX_PER_WEBHOOK]
            tenants: Counter[str] = Counter()
            for (tenant, _), count in self._delivering.items():
                tenants[tenant] += count
        busy_tenants = [tenant for tenant, count in tenants.items() if count >= TENANT_AT_ONCE]
        if room <= 0:
            return []
        # Looked at first: mostly nothing is due, and writers on SQLite queue.
        with self._site.catalog.read_system() as tx:
            if not webhook_deliveries.is_due(tx):
                return []
        with self._site.catalog.write_system() as tx:
            due = webhook_deliveries.claim_due(
                tx, limit=room, each=MAX_PER_WEBHOOK, each_tenant=TENANT_BEGUN, busy=busy, busy_tenants=busy_tenants
            )
        with self._lock:
            self._delivering.update((tenant, claim.webhook_id) for tenant, claim in due)
        return [self._pool.submit(self._deliver, tenant, claim) for tenant, claim in due]

    def _deliver(self, tenant: str, claim: WebhookClaim) -> None:
        try:
            self._send(tenant, claim)
        except Exception as error:  # noqa: BLE001 - sorted and logged
            self._fail(tenant, claim, error)
        finally:
            with self._lock:
                self._delivering[tenant, claim.webhook_id] -= 1
                self._delivering += Counter()  # Drops what is at zero.
            self._loop.wake()

    def _send(self, tenant: str, claim: WebhookClaim) -> None:
        status, why = None, None
        secrets = self._secrets(tenant, claim)
        try:
            if not secrets:
                why = "Its secret cannot be decrypted: PACKSHOT_ACCESS_SECRET has changed."
            elif claim.attempt <= webhook_deliveries.MAX_ATTEMPTS:
                # Otherwise the process ended in the middle of the last attempt, too.
                status = self._post(claim, secrets)
        except PackshotError as error:
            why = describe(error)
            log.info("webhook delivery %s: %s", claim.id, why)
        with self._site.catalog.write(tenant) as tx:
            webhook_deliveries.end_attempt(tx, claim, status, why)

    def _secrets(self, tenant: str, claim: WebhookClaim) -> list[str]:
        """Return the secrets that sign, the current one first; none if that one cannot be decrypted."""
        place = f"{tenant}/{claim.webhook_id}"
        current = claim.secret if claim.sealed is None else self._unseal(place, claim.sealed)
        old = [self._unseal(place, sealed) for sealed in claim.old_sealed]
        return [] if current is None else [current, *(secret for secret in old if secret is not None)]

    def _unseal(self, place: str, sealed: bytes) -> str | None:
        secret = unseal(self._site.settings, Purpose.WEBHOOK, place, sealed)
        if secret is None:
            log.error(
                "webhook %s cannot be signed: its secret was encrypted under another PACKSHOT_ACCESS_SECRET,"
                " or another admin token if that is not set",
                place,
            )
        return secret

    def _post(self, claim: WebhookClaim, secrets: Sequence[str]) -> int:
        moment = datetime.now(UTC)
        headers = {
            "Content-Type": "application/json",
            # The answer's body is not read. Frameworks that choose its type by this header find one they have.
            "Accept": "application/json, */*;q=0.8",
            "User-Agent": self._site.settings.user_agent,
            "webhook-id": claim.id,
            "webhook-timestamp": str(int(moment.timestamp())),
            # One by each secret, with spaces between them; receivers accept any that fits theirs.
            "webhook-signature": " ".join(Signer(secret).sign(claim.id, moment, claim.body) for secret in secrets),
        }
        return post(claim.url, claim.body.encode(), headers, allowed=self._allowed, seconds=PATIENCE_SECONDS)

    def _fail(self, tenant: str, claim: WebhookClaim, error: Exception) -> None:
        failure = classify_failure(log, error, "webhook delivery %s could not be ended", claim.id)
        # After an outage it is due again when its lease runs out.
        if not isinstance(failure, str):
            with self._site.catalog.write(tenant) as tx:
                webhook_deliveries.end_after_fault(tx, claim, describe(failure))
