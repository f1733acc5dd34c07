"""Access keys: made, listed, revoked, required, and URLs signed with them."""

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
from packshot.variants.live_request import LiveForm
from packshot.variants.tags import erase_tag, tenant_tag
from resolvers.caller import Caller
from resolvers.urls.parse import read_url

# A signed URL opens for no longer than that.
MAX_SIGNED = timedelta(days=366)
# What opens a URL, or asks about it, is no part of what is signed.
_BESIDE = ("access-key", "expires", "signature", "explain")


def create_key(caller: Caller, name: str) -> tuple[AccessKey, str]:
    """Make an access key; return it and its secret, which is not shown again.

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
    """Let a key, and what it has signed, open nothing any more.

    Raises:
        NotFound: there is no such key in this tenant.
    """
    with caller.write() as tx:
        return access_keys.revoke_key(tx, key_id)


def require_keys(caller: Caller, *, required: bool) -> None:
    """Show the tenant's pictures to everybody, or only to who has a key; withdraw what is public after that.

    Raises:
        NotFound, BadState: see `packshot.catalog.clients.access_keys.require_keys`.
    """
    with caller.write() as tx:
        if access_keys.require_keys(tx, required=required) != required:
            # What was for everybody is to be seen by nobody, not even while Packshot is away.
            cause = f"access keys by {caller.subject}"
            purges.order_purge(tx, scope="tenant", cause=cause, tags=[tenant_tag(caller.tenant)], erasing=True)


def withdraw_variants(caller: Caller, seen: Callable[[int], None] = lambda _: None, *, again: bool = False) -> int:
    """Move a tenant's blobs to where no CDN looks, and have copies of them purged; return how many there were.

    Copies are purged of blobs that were moved before as well: everybody could see them while no keys were required.

    Harmless to repeat. It is complete when nobody puts any more by what was known before:
    `packshot.security.access_policy.FRESH` and a put's time after keys were required.

    Args:
        seen: told how many were moved, after each.
        again: what was there a moment ago was purged then; only what is found now is.

    Raises:
        OSError: the store is away.
    """
    store = caller.site.variants
    assert isinstance(store, DividedStore)
    moved = 0
    listed = (store.public if again else store).list(f"{caller.tenant}/")
    for pack_id, keys in groupby(listed, key=lambda key: key.split("/")[1]):
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
    """Return an image URL of the tenant that opens until then, whatever it asks for, and that moment.

    Raises:
        Invalid: that is no image URL, it leads to a smaller picture, or the moment is past or too far away.
        NotFound: it is another tenant's.
        BadState: there is no access key to sign with.
    """
    address = read_url(caller.site.settings, url)
    if address.tenant != caller.tenant:
        raise NotFound("There is no such picture.", field=("url",), expected="a URL of this tenant")
    form, limit = address.form, caller.site.limit
    if isinstance(form, LiveForm) and (within := form.within(limit)) is not form:
        raise Invalid(
            "That URL leads to the equal one within the greatest size, which its signature would not open.",
            field=("url",),
            expected=within.name,
            got=form.name,
        )
    expires, now = int(expires_at.timestamp()), datetime.now(UTC)
    if expires <= now.timestamp():
        raise Invalid(
            "A URL cannot end before it is given.",
            field=("expires_at",),
            expected="a moment to come",
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
        raise BadState("There is no access key to sign with.", expected="one made by `packshot access-key create`")
    settings = caller.site.settings
    for key in keys:
        secret = unseal(settings, Purpose.ACCESS_KEY, f"{caller.tenant}/{key.id}", key.sealed)
        if secret is not None:
            return secret
    raise BadState(
        "No access key can be read.",
        expected="PACKSHOT_ACCESS_SECRET, or else the admin token, as when a key was made; or a new key",
    )
