"""Conflicts between settings, and settings that need a package that is not installed."""

from collections.abc import Iterator
from importlib.util import find_spec

from packshot.settings.settings import Settings
from packshot.settings.types import PREFIX, STRONG_SECRET, is_guessable, is_short

# Settings of each kind of CDN: required with that kind, and refused with any other.
_OF_CDN = {
    "cloudfront_distribution": "cloudfront",
    "cloudfront_purge_by": "cloudfront",
    "fastly_service": "fastly",
    "fastly_token": "fastly",
    "varnish_urls": "varnish",
}


def conflicts(settings: Settings) -> dict[str, str]:
    """Return the conflicts as one line each, by name of the variable."""
    conflicts = [*_buckets(settings), *_tokens(settings), *_cdn(settings), *_packages(settings)]
    return {PREFIX + name: f"{PREFIX}{name}: expected {fault}" for name, fault in conflicts}


def _buckets(settings: Settings) -> Iterator[tuple[str, str]]:
    buckets = {"S3_BUCKET_ORIGINALS": settings.s3_bucket_originals, "S3_BUCKET_VARIANTS": settings.s3_bucket_variants}
    if any(buckets.values()):
        for name, bucket in buckets.items():
            if bucket is None:
                yield name, "a bucket's name, because the other bucket is set, got nothing"


def _tokens(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.jwt_secret is not None and settings.jwks_url is not None:
        yield "JWKS_URL", f"nothing, because {PREFIX}JWT_SECRET is set, got an address"
    if settings.redis_url is not None and settings.admin_token is None:
        # Tokens that each process generates for itself would differ.
        yield "ADMIN_TOKEN", f"a token, because {PREFIX}REDIS_URL is set, got nothing"
    # The issuer of the JWTs chose this secret, so only its length is checked.
    rules = {"admin_token": is_guessable, "access_secret": is_guessable, "jwt_secret": is_short}
    for name, is_weak in rules.items():
        secret = getattr(settings, name)
        if secret is not None and is_weak(secret.get_secret_value()):
            yield name.upper(), f"{STRONG_SECRET}, got a value that is not shown"


def _cdn(settings: Settings) -> Iterator[tuple[str, str]]:
    for field, kind in _OF_CDN.items():
        value = getattr(settings, field)
        if kind == settings.cdn and value is None:
            yield field.upper(), f"a value, because {PREFIX}CDN is {kind}, got nothing"
        elif kind != settings.cdn and value != type(settings).model_fields[field].default:
            yield field.upper(), f"nothing, because {PREFIX}CDN is {settings.cdn}, got a value"


def _packages(settings: Settings) -> Iterator[tuple[str, str]]:
    needed = {
        "DATABASE_URL": ("psycopg", settings.effective_database_url.startswith("postgresql")),
        "REDIS_URL": ("redis", settings.redis_url is not None),
        "S3_BUCKET_ORIGINALS": ("boto3", settings.s3_bucket_originals is not None),
        "CDN": ("boto3", settings.cdn == "cloudfront"),
    }
    for name, (package, is_needed) in needed.items():
        if is_needed and find_spec(package) is None:
            yield name, f"packshot[scale] to be installed, got no package {package}"
