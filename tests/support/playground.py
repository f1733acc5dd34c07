"""A whole installation in a folder, driven step by step: no threads, no waiting, no HTTP."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import sqlalchemy as sa
from PIL import Image
from pydantic import SecretStr
from sqlalchemy.util import LRUCache

from packshot.catalog.configuration.snapshots import read_snapshot
from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.catalog.database import migrate
from packshot.catalog.database.transaction import Catalog
from packshot.catalog.variants import ledger, reconciliation
from packshot.catalog.variants.ledger import Entry
from packshot.catalog.work import job_portions
from packshot.catalog.work import jobs as job_rows
from packshot.catalog.work.jobs import Job
from packshot.catalog.work.orders import Priority
from packshot.model import Snapshot
from packshot.render.limits import Limits
from packshot.render.processes.pool import Renderer
from packshot.security.access_policy import AccessPolicy
from packshot.settings.settings import Settings
from packshot.site import Site, divide, original_key
from packshot.storage.folder import FolderStore
from packshot.variants.key import parse_key
from packshot.variants.request import parse_request
from packshot.variants.resolve import Target, planned_all, resolve
from pregen.refreshing.refresh import refresh_packs
from pregen.services.dispatcher import Dispatcher
from pregen.services.eraser import Eraser
from pregen.services.url_importer import UrlImporter
from resolvers import locations, originals, packs, uploads
from resolvers.caller import Caller
from resolvers.changing.decision import Activation, Consent
from resolvers.originals import Source
from tests.support.pictures import jpeg, photo

TENANT = "default"
AT_ONCE = Consent(force=True, activation=Activation.IMMEDIATE)


class RecordingDoorbell:
    """Keeps the rings until the test answers them."""

    def __init__(self) -> None:
        self.rings: deque[tuple[str, str, Priority]] = deque()

    def ring(self, tenant: str, pack_id: str, priority: Priority) -> None:
        self.rings.append((tenant, pack_id, priority))

    def ring_all(self, tenant: str, pack_ids: Sequence[str], priority: Priority) -> None:
        """Accept a message for several packs as one ring for each."""
        for pack_id in pack_ids:
            self.ring(tenant, pack_id, priority)

    def wake(self) -> None:
        """Do nothing: the test runs the dispatcher's steps itself."""


class SharedCatalog(Catalog):
    """A catalog that shares compiled statements with all others of its kind: compiling costs more than executing."""

    _dialects: ClassVar[dict[str, sa.Dialect]] = {}
    _statements: ClassVar[Any] = LRUCache(3000)

    def __init__(self, url: str) -> None:
        super().__init__(url)
        # SQLAlchemy finds a compiled statement by its engine's dialect.
        dialect = self._dialects.setdefault(self.engine.dialect.name, self.engine.dialect)
        for engine in (self.engine, self._reading, self._writing):
            engine.dialect = dialect
            engine.update_execution_options(compiled_cache=self._statements)


@cache
def _migrated() -> bytes:
    """Return an empty SQLite database; it is copied, because a migration takes longer than most tests."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "packshot.db"
        catalog = Catalog(f"sqlite:///{path}")
        migrate.upgrade(catalog)
        catalog.close()
        return path.read_bytes()


class Playground:
    """One installation, and the steps that a test takes with it."""

    def __init__(self, folder: Path, renderer: Renderer, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.settings = Settings(data=folder, admin_token=SecretStr("test-token-0123456789abcdef"), **settings)
        if self.settings.database_url is None and not (folder / "packshot.db").exists():
            (folder / "packshot.db").write_bytes(_migrated())
        catalog = SharedCatalog(self.settings.effective_database_url)
        access_policy = AccessPolicy(catalog, self.settings)
        self.site = Site(
            settings=self.settings,
            catalog=catalog,
            access_policy=access_policy,
            originals=FolderStore(folder / "originals"),
            variants=divide(FolderStore(folder / "variants"), FolderStore(folder / "private-variants"), access_policy),
            uploads=FolderStore(folder / "uploads"),
            tombstones=FolderStore(folder / "tombstones"),
            marks=FolderStore(folder / "marks"),
            renderer=renderer,
            incoming=folder / "incoming",
        )
        self.site.incoming.mkdir(exist_ok=True)
        if not sa.inspect(catalog.engine).has_table("tenants"):
            migrate.upgrade(catalog)
        with self.site.catalog.write(TENANT) as tx:
            ensure_tenant(tx)
        self.doorbell = RecordingDoorbell()
        self.use(self.site)

    def use(self, site: Site) -> None:
        """Continue with other parts, such as stores of another kind."""
        self.site = site
        self.caller = Caller(site, self.doorbell, TENANT, "tester", "http://test")
        self.dispatcher = Dispatcher(site, self.doorbell.ring_all, bulk_places=2)
        self.eraser = Eraser(site)
        self.url_importer = UrlImporter(site, self.doorbell)

    def upload(self, data: bytes, *, media_type: str = "image/jpeg", sha256: str | None = None) -> str:
        """Upload bytes as a client does, and return the upload's id."""
        upload, token = uploads.create_upload(self.caller, media_type=media_type, size=len(data), sha256=sha256)
        begun = uploads.begin_upload(self.site, self.caller.tenant, upload.id, token)
        path = self.site.incoming / upload.id
        path.write_bytes(data)
        uploads.finish_upload(self.site, self.caller.tenant, begun, path)
        path.unlink()
        return upload.id

    def location(self, name: str, **changes: Any) -> Job | None:
        """Put a location with immediate effect, and return the job that its change needs."""
        return locations.put_location(self.caller, name, changes, AT_ONCE).job

    def pack(self, *, picture: Image.Image | bytes | None = None, at: str = "main", **values: Any) -> str:
        """Create a pack with an image, and return its id; nothing is rendered yet."""
        pack_id = packs.create_pack(self.caller, values).pack.id
        self.show(pack_id, at, photo(600, 400) if picture is None else picture)
        return pack_id

    def show(self, pack_id: str, location: str, picture: Image.Image | bytes) -> Job:
        """Set a pack location's original."""
        data = picture if isinstance(picture, bytes) else jpeg(picture)
        return originals.set_original(self.caller, pack_id, location, Source(upload_id=self.upload(data)))[1]

    def spoil(self, pack_id: str) -> Callable[[], None]:
        """Replace the stored bytes of a pack's original at `main`; return a function that restores them."""
        original = self.snapshot(pack_id).pack_location("main").original
        assert original is not None
        key, store = original_key(TENANT, original.sha256), self.site.originals
        data, stored = store.get(key)

        def put(content: bytes) -> None:
            store.delete(key)
            store.put(key, content, stored.metadata)

        put(b"no picture")
        return partial(put, data)

    def run_jobs(self) -> None:
        """Run all jobs, as the worker would."""
        while True:
            while self.url_importer.step():
                pass
            self.dispatcher.step()
            if not self.doorbell.rings and not self._is_work_left():
                return
            while self.doorbell.rings:
                tenant, pack_id, _ = self.doorbell.rings.popleft()
                refresh_packs(self.site, tenant, [pack_id])

    def _is_work_left(self) -> bool:
        with self.site.catalog.read_system() as tx:
            return bool(job_portions.jobs_to_enqueue(tx, *Priority))

    def snapshot(self, pack_id: str) -> Snapshot:
        with self.site.catalog.read(TENANT) as tx:
            return read_snapshot(tx, pack_id)

    def planned(self, pack_id: str) -> dict[str, Target]:
        """Return the pack's planned variants by key."""
        return {str(target.key): target for target in planned_all(self.snapshot(pack_id), limit=self.site.limit)}

    def target(self, pack_id: str, query: str) -> Target:
        """Return the current resolution of a stable URL with this query."""
        return resolve(self.snapshot(pack_id), parse_request(query), limit=self.site.limit)

    def entries(self, pack_id: str) -> dict[str, Entry]:
        with self.site.catalog.read(TENANT) as tx:
            known = reconciliation.read_ledger_rows(tx, [pack_id])
            return ledger.read_entries(tx, [parse_key(key) for key in known])

    def job(self, job: Job) -> Job:
        """Return the job in its current state."""
        with self.site.catalog.read(TENANT) as tx:
            return job_rows.get_job(tx, job.id)

    def with_settings(self, settings: Settings) -> Site:
        """Return the same installation with other settings."""
        return replace(self.site, settings=settings)

    @contextmanager
    def limits(self, **changes: Any) -> Iterator[Site]:
        """Return a site whose renderer has other limits."""
        with Renderer(replace(Limits(), **changes), processes=2) as renderer:
            yield replace(self.site, renderer=renderer)
