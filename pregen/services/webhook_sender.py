"""The webhook sender: the service that sends due deliveries, signed by the rules of Standard Webhooks."""

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
from pregen.services.service import Service

log = logging.getLogger(__name__)

# Deliveries that are sent at a time: in all, and of one webhook. A slow webhook must leave room for the others.
MAX_SENDS = 16
MAX_PER_WEBHOOK = 2
# Deliveries of one tenant, whose addresses may all be slow: none begins while this many are being sent, and one step
# begins at most this many.
TENANT_MAX_SENDS, TENANT_MAX_CLAIMS = 8, 4
# A webhook that answers more slowly gets the delivery again. Receivers must accept repeated deliveries anyway.
ANSWER_SECONDS = 10.0


class WebhookSender(Service):
    """Runs in every worker: each claims the deliveries that it sends."""

    def __init__(self, site: Site) -> None:
        super().__init__("webhook sender", patience=None)
        self._site = site
        self._allowed = parse_allowed(site.settings.fetch_allow or "")
        self._pool = ThreadPoolExecutor(MAX_SENDS, thread_name_prefix="webhook delivery")
        self._lock = threading.Lock()
        # By tenant and webhook: the number of deliveries that are being sent.
        self._delivering: Counter[tuple[str, str]] = Counter()

    def step(self) -> bool:
        """Begin to send some due deliveries. Does not wait for them: each wakes the service when it ends."""
        return bool(self._begin())

    def finish(self) -> None:
        """Wait for the deliveries that are being sent. The others stay due for another process."""
        self._pool.shutdown()

    def send_due(self) -> int:
        """Send some due deliveries, wait for them, and return their number."""
        begun = self._begin()
        for sending in begun:
            sending.result()
        return len(begun)

    def _begin(self) -> list[Future[None]]:
        """Begin to send due deliveries, as many as there are free threads."""
        with self._lock:
            room = MAX_SENDS - self._delivering.total()
            busy = [webhook for webhook, count in self._delivering.items() if count >= MAX_PER_WEBHOOK]
            tenants: Counter[str] = Counter()
            for (tenant, _), count in self._delivering.items():
                tenants[tenant] += count
        busy_tenants = [tenant for tenant, count in tenants.items() if count >= TENANT_MAX_SENDS]
        if room <= 0:
            return []
        # A read first: mostly no delivery is due, and SQLite has one writer at a time.
        with self._site.catalog.read_system() as tx:
            if not webhook_deliveries.is_due(tx):
                return []
        with self._site.catalog.write_system() as tx:
            due = webhook_deliveries.claim_due(
                tx,
                limit=room,
                each=MAX_PER_WEBHOOK,
                each_tenant=TENANT_MAX_CLAIMS,
                busy=busy,
                busy_tenants=busy_tenants,
            )
        with self._lock:
            self._delivering.update((tenant, claim.webhook_id) for tenant, claim in due)
        return [self._pool.submit(self._deliver, tenant, claim) for tenant, claim in due]

    def _deliver(self, tenant: str, claim: WebhookClaim) -> None:
        try:
            self._send(tenant, claim)
        except Exception as error:  # noqa: BLE001 - classified and logged
            self._fail(tenant, claim, error)
        finally:
            with self._lock:
                self._delivering[tenant, claim.webhook_id] -= 1
                self._delivering += Counter()  # Drops webhooks at zero.
            self.wake()

    def _send(self, tenant: str, claim: WebhookClaim) -> None:
        status, error_text = None, None
        secrets = self._secrets(tenant, claim)
        try:
            if not secrets:
                error_text = "Its secret cannot be decrypted: PACKSHOT_ACCESS_SECRET has changed."
            elif claim.attempt <= webhook_deliveries.MAX_ATTEMPTS:
                # Otherwise the process has ended during the last attempt as well.
                status = self._post(claim, secrets)
        except PackshotError as error:
            error_text = describe(error)
            log.info("webhook delivery %s: %s", claim.id, error_text)
        with self._site.catalog.write(tenant) as tx:
            webhook_deliveries.end_attempt(tx, claim, status, error_text)

    def _secrets(self, tenant: str, claim: WebhookClaim) -> list[str]:
        """Return the secrets that sign, the current one first. Empty if the current one cannot be decrypted."""
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
            # Any type is accepted, because the body of the response is not read.
            "Accept": "application/json, */*;q=0.8",
            "User-Agent": self._site.settings.user_agent,
            "webhook-id": claim.id,
            "webhook-timestamp": str(int(moment.timestamp())),
            # One signature by each secret. Receivers accept the one that fits their secret.
            "webhook-signature": " ".join(Signer(secret).sign(claim.id, moment, claim.body) for secret in secrets),
        }
        return post(claim.url, claim.body.encode(), headers, allowed=self._allowed, seconds=ANSWER_SECONDS)

    def _fail(self, tenant: str, claim: WebhookClaim, error: Exception) -> None:
        failure = classify_failure(log, error, "webhook delivery %s could not be ended", claim.id)
        # After an outage the delivery is due again when its lease expires.
        if not isinstance(failure, str):
            with self._site.catalog.write(tenant) as tx:
                webhook_deliveries.end_after_fault(tx, claim, describe(failure))
