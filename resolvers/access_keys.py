"""Access keys: create, list, revoke and require them, and sign URLs with them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import groupby
from urllib.parse import unquote, urlsplit, urlunsplit

from packshot.catalog.clients import access_keys
from packshot.catalog.clients.access_keys import AccessKey
from packshot.catalog.purging import purges
from packshot.errors import BadState, Invalid, NotFound
from packshot.security import access_policy
from packshot.security.sealing import Purpose, seal, unseal
from packshot.storage.divided import DividedStore
from packshot.variants.key import pack_of
from packshot.variants.live_request import LiveForm
from packshot.variants.tags import erase_tag, tenant_tag
from resolvers.caller import Caller
from resolvers.urls.parse import read_url

# Longest time until the expiry of a signed URL.
MAX_SIGNED = timedelta(days=366)
# Parameters that a signature does not cover: those that open a URL or ask for its explanation.
_BESIDE = ("access-key", "expires", "signature", "explain")


def create_key(caller: Caller, name: str) -> tuple[AccessKey, str]:
    """Create an access key. Return it and its secret, which is not shown again.

    Raises:
        Invalid, Limit, NotFound: see `packshot.catalog.clients.access_keys.add_key`.
    """
    secret, settings = access_policy.make_secret(), caller.site.settings

    def sealed(id: str) -> bytes:
        return seal(settings, Purpose.ACCESS_KEY, f"{caller.tenant}/{id}", secret)

    with caller.write() as tx:
        return access_keys.add_key(tx, name, access_policy.digest_of(secret), sealed, by=caller.subject), secret


def list_keys(caller: Caller) -> list[AccessKey]:
    """Return the tenant's access keys, newest first."""
    with caller.site.catalog.read(caller.tenant) as tx:
        return access_keys.list_keys(tx)


def revoke_key(caller: Caller, key_id: str) -> AccessKey:
    """Revoke a key. Neither the key nor URLs that it has signed open images from then on.

    Raises:
        NotFound: there is no such key in this tenant.
    """
    with caller.write() as tx:
        return access_keys.revoke_key(tx, key_id)


def require_keys(caller: Caller, *, required: bool) -> None:
    """Require access keys for the tenant's images, or stop to. After requiring them, call `withdraw_variants`.

    Raises:
        NotFound, BadState: see `packshot.catalog.clients.access_keys.require_keys`.
    """
    with caller.write() as tx:
        if access_keys.require_keys(tx, required=required) != required:
            # Copies of public images must not be served, not even while Packshot does not answer: a hard purge.
            cause = f"access keys by {caller.subject}"
            purges.order_purge(tx, scope="tenant", cause=cause, tags=[tenant_tag(caller.tenant)], erasing=True)


def withdraw_variants(caller: Caller, seen: Callable[[int], None] = lambda _: None, *, again: bool = False) -> int:
    """Move a tenant's variants where the CDN has no access, and purge their copies. Return how many were moved.

    Copies of variants that were moved earlier are purged too, because they were public while no keys were required.

    It can be repeated. It is complete when every process knows that keys are required and has ended its earlier puts.
    That takes `packshot.security.access_policy.FRESH` plus the time of one put.

    Args:
        seen: called with the number so far, after each variant.
        again: this is the second call. It moves only variants that became public since the first one.

    Raises:
        OSError: the store does not answer.
    """
    store = caller.site.variants
    assert isinstance(store, DividedStore)
    moved = 0
    listed = (store.public if again else store).list(f"{caller.tenant}/")
    for pack_id, keys in groupby(listed, key=pack_of):
        for key in keys:
            if again or store.public.head(key) is not None:
                store.withdraw(key)
                moved += 1
                seen(moved)
        with caller.write() as tx:
            tags, cause = [erase_tag(caller.tenant, pack_id)], f"access keys by {caller.subject}"
            purges.order_purge(tx, scope=f"pack {pack_id}, withdrawn", cause=cause, tags=tags, erasing=True)
    return moved


def sign_url(caller: Caller, url: str, expires_at: datetime) -> tuple[str, datetime]:
    """Sign an image URL of the tenant. Return the signed URL and its expiry.

    Raises:
        Invalid: it is no image URL, it redirects to a smaller size, or the expiry is in the past or too far away.
        NotFound: it is a URL of another tenant.
        BadState: there is no access key to sign with.
    """
    address = read_url(caller.site.settings, url)
    if address.tenant != caller.tenant:
        raise NotFound("There is no such picture.", field=("url",), expected="a URL of this tenant")
    form, limit = address.form, caller.site.limit
    if isinstance(form, LiveForm) and (within := form.within(limit)) is not form:
        raise Invalid(
            "This URL redirects to one within the greatest size, which the signature would not open.",
            field=("url",),
            expected=within.name,
            got=form.name,
        )
    expires, now = int(expires_at.timestamp()), datetime.now(UTC)
    if expires <= now.timestamp():
        raise Invalid(
            "A signed URL cannot expire in the past.",
            field=("expires_at",),
            expected="a time in the future",
            got=expires_at.isoformat(),
        )
    if expires > (now + MAX_SIGNED).timestamp():
        raise Invalid(
            "A signed URL is too long-lived.",
            field=("expires_at",),
            expected=f"at most {MAX_SIGNED.days} days from now, {now + MAX_SIGNED:%Y-%m-%dT%H:%M:%SZ}",
            got=expires_at.isoformat(),
        )
    signed = access_policy.sign(_signing_key(caller), address.tenant, address.path, address.query, expires)
    parts = urlsplit(url)
    kept = [pair for pair in parts.query.split("&") if pair and unquote(pair.partition("=")[0]).lower() not in _BESIDE]
    opened = urlunsplit((parts.scheme, parts.netloc, parts.path, "&".join([*kept, signed]), ""))
    return opened, datetime.fromtimestamp(expires, UTC)


def _signing_key(caller: Caller) -> str:
    with caller.site.catalog.read(caller.tenant) as tx:
        keys = access_keys.live_keys(tx)
    if not keys:
        raise BadState(
            "There is no access key to sign with.", expected="a key that `packshot access-key create` created"
        )
    settings = caller.site.settings
    for key in keys:
        secret = unseal(settings, Purpose.ACCESS_KEY, f"{caller.tenant}/{key.id}", key.sealed)
        if secret is not None:
            return secret
    raise BadState(
        "No access key can be read.",
        expected="the PACKSHOT_ACCESS_SECRET, or else the admin token, under which a key was created; or a new key",
    )
