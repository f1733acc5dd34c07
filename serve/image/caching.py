"""Response headers for caches: how long they keep an image, and the tags by which a purge finds it."""

from collections.abc import Iterable

from packshot.production import FOREVER
from packshot.site import Site
from packshot.variants.key import Key
from packshot.variants.resolve import Target
from packshot.variants.tags import erase_tag
from resolvers.urls.build import immutable_path

# `s-maxage` is a day if the CDN purges by tags, because a purge then finds every copy; otherwise a minute.
STABLE = "public, max-age=60, s-maxage={}, stale-while-revalidate=60, stale-if-error=86400"
# For a variant without a ledger row: an erasure that purges by path cannot find its copies.
BRIEF = "public, max-age=60"
# For images that require an access key: a shared cache would give them to the next client.
PRIVATE = "private, no-store"
COMMON = {
    "X-Content-Type-Options": "nosniff",
    "Access-Control-Allow-Origin": "*",
    # Lets scripts of other origins read these headers.
    "Access-Control-Expose-Headers": "Content-Location, Content-Range, ETag, X-Packshot-Source, X-Packshot-Upscaled",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Timing-Allow-Origin": "*",
}


def keep_stable(site: Site, tags: Iterable[str]) -> dict[str, str]:
    """Return the cache headers and purge tags of a stable URL's response."""
    lifetime = STABLE.format(86_400 if site.purger.by_tags else 60)
    return {"Cache-Control": lifetime} | site.purger.headers(list(tags))


def describe_stable(site: Site, target: Target, *, varies: bool) -> dict[str, str]:
    """Return the headers of a stable URL's response that depend on the variant, not on its bytes.

    Args:
        varies: whether the format was negotiated.
    """
    headers = keep_stable(site, target.tags)
    headers |= {"Content-Location": immutable_path(site.settings, target.key), "X-Packshot-Source": target.source}
    if varies:
        headers["Vary"] = "Accept"
    if target.upscaled:
        headers["X-Packshot-Upscaled"] = "true"
    return headers


def redirects_to_cdn(site: Site, tenant: str) -> bool:
    """Whether live URLs of stored variants redirect to a CDN. Images that require an access key are on no CDN."""
    return site.settings.public_url is not None and site.access_policy.find(tenant) is None


def describe_redirect(site: Site, tags: Iterable[str] = (), *, varies: bool = False) -> dict[str, str]:
    """Return the cache headers and purge tags of a live URL's redirect.

    Args:
        varies: whether the redirect leads to a negotiated format.
    """
    headers = {"Cache-Control": f"max-age={site.settings.redirect_max_age}"} | site.purger.headers(list(tags))
    return headers | ({"Vary": "Accept"} if varies else {})


def describe_immutable(site: Site, key: Key) -> dict[str, str]:
    """Return the headers of an immutable URL's response that depend on its key, not on the bytes."""
    return {"Cache-Control": FOREVER} | site.purger.headers([erase_tag(key.tenant, key.pack)])
