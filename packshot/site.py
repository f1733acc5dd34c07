"""One installation: its database, stores and renderer."""

import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from packshot.catalog.database.transaction import Catalog
from packshot.catalog.variants.decoding import DecodingLog
from packshot.catalog.variants.render_costs import Tally
from packshot.cdn.base import Purger
from packshot.cdn.none import NoPurger
from packshot.cdn.paths import live_paths
from packshot.cdn.surrogate import SurrogateKeyPurger
from packshot.cdn.varnish import VarnishPurger
from packshot.durable_files import make_folder
from packshot.geometry import Size
from packshot.render.limits import Limits
from packshot.render.processes.pool import Renderer
from packshot.security.access_policy import AccessPolicy
from packshot.settings.settings import Settings
from packshot.settings.types import split_list
from packshot.storage.base import ObjectStore
from packshot.storage.divided import DividedStore
from packshot.storage.folder import STALE_SECONDS, FolderStore


@dataclass(frozen=True, slots=True)
class Site:
    """The parts of an installation, shared by all of Packshot.

    Attributes:
        originals: store of originals by content, `<tenant>/<sha256>`; never overwritten.
        variants: store of variants by key; never overwritten. Variants of tenants that require access keys stay
        private.
        tombstones: store of tombstones of erased packs, `<tenant>/<pack>`; never deleted.
        marks: store of each tenant's sequence position, outside the database; see `packshot.maintenance.marks`.
        uploads: store of received uploads, `<tenant>/<upload id>`.
        incoming: folder for files that are being received or fetched.
        access_policy: which tenants require access keys, and the keys.
        purger: the CDN in front, if any.
        tally: render costs that this process has measured but not yet written.
        decoding: results of decoding originals in this process, not yet written.
    """

    settings: Settings
    catalog: Catalog
    originals: ObjectStore
    variants: ObjectStore
    uploads: ObjectStore
    tombstones: ObjectStore
    marks: ObjectStore
    renderer: Renderer
    incoming: Path
    access_policy: AccessPolicy
    purger: Purger = field(default_factory=NoPurger)
    tally: Tally = field(default_factory=Tally)
    decoding: DecodingLog = field(default_factory=DecodingLog)

    @property
    def limit(self) -> Size:
        """Maximum side lengths of a variant."""
        return Size(self.settings.max_width, self.settings.max_height)

    @property
    def stores(self) -> dict[str, ObjectStore]:
        """All stores, by the names that `open_stores` gives them."""
        apart = {"variants": self.variants}
        if isinstance(self.variants, DividedStore):
            apart = {"variants": self.variants.public, "private variants": self.variants.private}
        return {
            "originals": self.originals,
            **apart,
            "uploads": self.uploads,
            "tombstones": self.tombstones,
            "marks": self.marks,
        }

    def sweep_incoming(self) -> None:
        """Remove files that killed processes left in the incoming folder.

        All files if this process owns the folder; otherwise those that are older than any transfer can take.
        """
        oldest = time.time() - (0 if self.settings.redis_url is None else STALE_SECONDS)
        for path in self.incoming.iterdir():
            with suppress(FileNotFoundError):  # another process removed it first
                if path.stat().st_mtime <= oldest:
                    path.unlink()

    def close(self) -> None:
        self.renderer.close()
        self.catalog.close()


def open_site(settings: Settings) -> Site:
    """Open every part; render processes start with the first image."""
    data = settings.data
    incoming = data / "incoming"
    make_folder(incoming)
    limits = Limits(
        max_pixels=settings.max_pixels,
        max_bytes=settings.max_upload_bytes,
        max_frames_pixels=settings.max_frames_pixels,
        seconds=settings.render_timeout_seconds,
        memory_bytes=settings.effective_render_memory_bytes,
    )
    catalog = Catalog(settings.effective_database_url)
    access_policy = AccessPolicy(catalog, settings)
    stores = open_stores(settings)
    return Site(
        settings=settings,
        catalog=catalog,
        access_policy=access_policy,
        originals=stores["originals"],
        variants=divide(stores["variants"], stores["private variants"], access_policy),
        uploads=stores["uploads"],
        tombstones=stores["tombstones"],
        marks=stores["marks"],
        renderer=Renderer(limits, processes=settings.effective_render_processes, folders=_original_folders(settings)),
        incoming=incoming,
        tally=Tally(),
        purger=open_purger(settings),
    )


def _original_folders(settings: Settings) -> list[Path]:
    """Return the folders for originals, uploads and incoming files; none holds a secret."""
    return [settings.data / name for name in ("incoming", "originals", "uploads")]


def open_purger(settings: Settings) -> Purger:
    """Return the purger of the configured CDN. It makes no request before the first purge."""
    if settings.cdn == "cloudfront" and settings.cloudfront_distribution is not None:
        # Imported here because botocore imports slowly and not every installation has it.
        from packshot.cdn.cloudfront import CloudFrontPurger

        prefix, by_tags = urlsplit(settings.public_url or "").path, settings.cloudfront_purge_by == "tags"
        live = live_paths(settings.live_prefix, settings.live_host)
        return CloudFrontPurger(settings.cloudfront_distribution, by_tags=by_tags, prefix=prefix, live=live)
    if settings.cdn == "fastly" and settings.fastly_service is not None and settings.fastly_token is not None:
        return SurrogateKeyPurger(settings.fastly_service, settings.fastly_token.get_secret_value())
    if settings.cdn == "varnish":
        return VarnishPurger([url.rstrip("/") for url in split_list(settings.varnish_urls)])
    return NoPurger()


def divide(public: ObjectStore, private: ObjectStore, access_policy: AccessPolicy) -> DividedStore:
    """Return the store of variants; those of tenants that require access keys go to the private store."""
    return DividedStore(
        public, private, is_private=access_policy.is_private, is_private_cached=access_policy.is_private_cached
    )


def open_stores(settings: Settings) -> dict[str, ObjectStore]:
    """Open the stores of originals, variants, private variants, uploads, tombstones and marks, by these names."""
    if settings.s3_bucket_originals is None or settings.s3_bucket_variants is None:
        names = ("originals", "variants", "private variants", "uploads", "tombstones", "marks")
        shared = "variants" if settings.variants_group is not None else None
        folders = {
            name: FolderStore(settings.data / name.replace(" ", "-"), for_group=name == shared) for name in names
        }
        for folder in folders.values():
            folder.sweep()
        return dict(folders)
    # Imported here because boto3 imports slowly and not every installation has it.
    from packshot.storage.s3 import S3Store

    def bucket(name: str, prefix: str) -> ObjectStore:
        return S3Store(
            name,
            prefix=prefix,
            scratch=settings.data / "incoming",
            endpoint_url=settings.s3_endpoint_url,
            public_endpoint_url=settings.s3_public_endpoint_url,
            region=settings.s3_region,
        )

    return {
        "originals": bucket(settings.s3_bucket_originals, "originals/"),
        # The prefix of immutable URLs, so that a CDN finds an object under the path of its URL.
        "variants": bucket(settings.s3_bucket_variants, "i/"),
        # A prefix that no CDN requests.
        "private variants": bucket(settings.s3_bucket_variants, "private/"),
        "uploads": bucket(settings.s3_bucket_originals, "uploads/"),
        "tombstones": bucket(settings.s3_bucket_originals, "tombstones/"),
        "marks": bucket(settings.s3_bucket_originals, "marks/"),
    }


def original_key(tenant: str, sha256: str) -> str:
    """Return the key of an original: by tenant and content."""
    return f"{tenant}/{sha256}"
