"""What the chaos tests look at: pictures that say which edit they show, and what is in a store."""

from collections.abc import Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3.session
import numpy as np
import sqlalchemy as sa
from PIL import Image

from tests.admin import Admin, wait_for
from tests.pictures import png
from tests.servers.cluster import Cluster
from tests.servers.seaweed import REGION

# A chart is a square of squares, each of a colour of its own; so many a side, so many pixels each.
SIDE = 32
CELL_PIXELS = 16
CELLS = SIDE * SIDE
_STEP = 256 // SIDE


def chart() -> bytes:
    """Draw a PNG of `CELLS` squares; `cell_shown` tells from any cut-out which one it is."""
    rows, columns = np.mgrid[0 : SIDE * CELL_PIXELS, 0 : SIDE * CELL_PIXELS] // CELL_PIXELS
    pixels = np.stack([columns * _STEP, rows * _STEP, np.full_like(rows, 128)], axis=-1).astype("uint8")
    return png(Image.fromarray(pixels))


def cell_crop(cell: int) -> str:
    """Return the crop, as GraphQL has it, that shows one square of the chart and nothing else."""
    row, column = divmod(cell, SIDE)
    edges = {"topLeftX": column, "topLeftY": row, "bottomRightX": column + 1, "bottomRightY": row + 1}
    return "{" + ", ".join(f"{name}: {edge / SIDE}" for name, edge in edges.items()) + "}"


def cell_shown(data: bytes) -> tuple[int, tuple[int, int]]:
    """Return which square of the chart a picture shows, and its size in pixels."""
    with Image.open(BytesIO(data)) as picture:
        size = picture.size
        middle = picture.convert("RGB").getpixel((size[0] // 2, size[1] // 2))
    assert isinstance(middle, tuple)
    column, row = (round(middle[channel] / _STEP) for channel in (0, 1))
    return row * SIDE + column, size


def wait_until_idle(admin: Admin, seconds: float) -> None:
    """Return when no job is left to be done."""
    query = "{ jobs(first: 1, states: [QUEUED, RUNNING]) { totalCount } }"
    wait_for(lambda: admin.ask(query)["jobs"]["totalCount"] == 0, seconds)


def check_cluster_store(cluster: Cluster) -> int:
    """Compare every object of a cluster's store with the ledger; return how many there are."""
    return check_store(cluster.database_url, dict(_objects(cluster)))


def check_folder_store(data: Path) -> int:
    """Compare every object of an embedded installation's store with the ledger; return how many there are."""
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
    # Past the proxy: what is there, not what comes through.
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=cluster.s3.endpoint_url,
        region_name=REGION,
        aws_access_key_id=cluster.s3.access_key,
        aws_secret_access_key=cluster.s3.secret_key,
    )
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="variants", Prefix="i/"):
        for item in page.get("Contents", []):
            body = client.get_object(Bucket="variants", Key=item["Key"])["Body"].read()
            yield item["Key"].removeprefix("i/"), body
    client.close()
