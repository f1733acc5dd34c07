"""The final checks of chaos tests: all work is done, and store and ledger agree."""

import time
from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3.session
import sqlalchemy as sa
from PIL import Image

from tests.servers.cluster import Cluster
from tests.servers.seaweed import REGION
from tests.support.admin import Admin


def put_locations(admin: Admin) -> None:
    """Create two locations, without the format that takes most of the time."""
    for name, width, height in (("thumb", 320, 180), ("cover", 200, 300)):
        values = f'name: "{name}", width: {width}, height: {height}, formats: [JPEG, WEBP]'
        admin.do("putLocation", f"input: {{{values}}}", "location { name }")


def unfinished_jobs(admin: Admin) -> int:
    """Return the number of unfinished jobs."""
    count: int = admin.ask("{ jobs(first: 1, states: [QUEUED, RUNNING]) { totalCount } }")["jobs"]["totalCount"]
    return count


def wait_until_idle(admin: Admin, seconds: float) -> None:
    """Wait until no job is unfinished."""
    deadline = time.monotonic() + seconds
    while unfinished_jobs(admin):
        assert time.monotonic() < deadline, "jobs are left undone"
        # Seldom, because the workers need the processor.
        time.sleep(0.3)


def check_cluster_store(cluster: Cluster) -> int:
    """Compare every object of a cluster's store with the ledger; return their number."""
    return check_store(cluster.database_url, dict(_objects(cluster)))


def check_folder_store(data: Path) -> int:
    """Compare every object of an embedded installation's store with the ledger; return their number."""
    root = data / "variants"
    files = (path for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    found = {str(path.relative_to(root)): path.read_bytes() for path in files if ".tmp" not in path.parts}
    return check_store(f"sqlite:///{data}/packshot.db", {k: v for k, v in found.items() if not k.startswith(".")})


def check_store(database_url: str, objects: dict[str, bytes]) -> int:
    """Compare objects with the ledger both ways: all known, none partial, none quarantined, none lost."""
    rows = _ledger(database_url)
    assert objects.keys() <= rows.keys(), "the store holds what the ledger does not know"
    for key, row in rows.items():
        assert row.state != "failed", f"{key} is quarantined: {row.error}"
        if row.state == "ready":
            data = objects[key]
            assert (len(data), sha256(data).hexdigest()) == (row.bytes, row.sha256), key
    for data in objects.values():
        with Image.open(BytesIO(data)) as picture:
            picture.load()
    return len(objects)


def _ledger(database_url: str) -> dict[str, Any]:
    engine = sa.create_engine(database_url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        found = connection.execute(sa.text("SELECT * FROM variants")).all()
    engine.dispose()
    return {f"{r.tenant_id}/{r.pack_id}/{r.location}/{r.fingerprint}/{r.plan}": r for r in found}


def _objects(cluster: Cluster) -> Iterator[tuple[str, bytes]]:
    # Without the proxy, so that its faults do not change the result.
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=cluster.s3.endpoint_url,
        region_name=REGION,
        aws_access_key_id=cluster.s3.access_key,
        aws_secret_access_key=cluster.s3.secret_key,
    )
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="variants", Prefix="i/"):
        for item in page.get("Contents", []):
            # A process that is killed at its start may leave the object of its store check.
            if item["Key"].startswith("i/packshot.check/"):
                continue
            body = client.get_object(Bucket="variants", Key=item["Key"])["Body"].read()
            yield item["Key"].removeprefix("i/"), body
    client.close()
