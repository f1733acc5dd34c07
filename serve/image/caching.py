"""How long answers are kept, by whom, and how they are found again to be purged."""

from collections.abc import Iterable

from packshot.production import FOREVER
from packshot.site import Site
from packshot.variants.key import Key
from packshot.variants.resolve import Target
from packshot.variants.tags import erase_tag
from resolvers.urls.build import immutable_path

# A day where a purge finds every copy, and a minute where nobody purges.
STABLE = "public, max-age=60, s-maxage={}, stale-while-revalidate=60, stale-if-error=86400"
# Of a picture that could not be stored, and whose copies an erasure by paths would not find.
BRIEF = "public, max-age=60"
# Of pictures that not everybody may see: no cache may keep what it would give to whoever asks next.
PRIVATE = "private, no-store"
COMMON = {
    "X-Content-Type-Options": "nosniff",
    "Access-Control-Allow-Origin": "*",
    # Of scripts elsewhere; what else they may read, every answer has.
    "Access-Control-Expose-Headers": "Content-Location, Content-Range, ETag, X-Packshot-Source, X-Packshot-Upscaled",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "Timing-Allow-Origin": "*",
}


def keep_stable(site: Site, tags: Iterable[str]) -> dict[str, str]:
    """Return the headers by which caches keep what a stable URL gives, and purges find it."""
    lifetime = STABLE.format(86_400 if site.purger.by_tags else 60)
    return {"Cache-Control": lifetime} | site.purger.headers(list(tags))


def describe_stable(site: Site, target: Target, *, varies: bool) -> dict[str, str]:
    """Return the headers of a stable URL's answer that depend on what it gives, and not on the bytes.

    Args:
        varies: the format was negotiated.
    """
    headers = keep_stable(site, target.tags)
    headers |= {"Content-Location": immutable_path(site.settings, target.key), "X-Packshot-Source": target.source}
    if varies:
        headers["Vary"] = "Accept"
    if target.upscaled:
        headers["X-Packshot-Upscaled"] = "true"
    return headers


def redirects_to_cdn(site: Site, tenant: str) -> bool:
    """Whether live URLs of what is stored lead to a CDN; what not everybody may see is at none."""
    return site.settings.public_url is not None and site.access_policy.find(tenant) is None


def describe_redirect(site: Site, tags: Iterable[str] = (), *, varies: bool = False) -> dict[str, str]:
    """Return the headers by which caches keep a live URL's redirect, and purges find it.

    Args:
        varies: it leads to a format that was negotiated.
    """
    headers = {"Cache-Control": f"max-age={site.settings.redirect_max_age}"} | site.purger.headers(list(tags))
    return headers | ({"Vary": "Accept"} if varies else {})


def describe_immutable(site: Site, key: Key) -> dict[str, str]:
    """Return the headers of an immutable URL's answer that depend on its key, and not on the bytes."""
    return {"Cache-Control": FOREVER} | site.purger.headers([erase_tag(key.tenant, key.pack)])
