"""PostgreSQL is restarted under load: acknowledged writes are kept, and work continues without help."""

import threading
from pathlib import Path

from packshot.catalog.configuration.tenants import ensure_tenant
from packshot.catalog.database import migrate
from packshot.catalog.database.transaction import Catalog
from packshot.render.processes.pool import Renderer
from resolvers import packs
from tests.servers.postgres import start_postgres
from tests.support.admin import wait_for
from tests.support.playground import TENANT, Playground

WRITERS = 4


def test_a_crash_of_the_database_loses_no_acknowledged_write(tmp_path: Path, renderer: Renderer) -> None:
    server = start_postgres(tmp_path / "postgres")
    playground = Playground(tmp_path / "data", renderer, database_url=server.url("postgres"))
    acknowledged: list[str] = []
    refused: list[Exception] = []
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            try:
                acknowledged.append(packs.create_pack(playground.caller, {}).pack.id)
            except Exception as outage:  # noqa: BLE001 - any exception of an outage
                refused.append(outage)
                stop.wait(0.05)

    writers = [threading.Thread(target=write) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    wait_for(lambda: len(acknowledged) > 50)
    server.crash()
    wait_for(lambda: len(refused) > 0)
    server.start()
    before = len(acknowledged)
    wait_for(lambda: len(acknowledged) > before + 50)
    stop.set()
    for writer in writers:
        writer.join()
    assert packs.load_snapshots(playground.caller, acknowledged).keys() == set(acknowledged)
    playground.site.catalog.close()
    again = Catalog(server.url("postgres"))
    assert migrate.is_current(again)
    with again.write(TENANT) as tx:
        assert not ensure_tenant(tx)
    again.close()
    server.stop()
