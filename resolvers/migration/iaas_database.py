"""The database of the live-resize service iaas. It is only read.

Its table `images` has one row for each image that the service has rendered and not deleted: the image's id, the scaled
size, fit, media type, blur and quality. It does not count requests.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import sqlalchemy as sa

from packshot.errors import BadState, Invalid

CONNECT_SECONDS = 10
ROWS_AT_ONCE = 1000
_MISSING = "Reading a PostgreSQL database needs psycopg, of the extra `scale`."

_images = sa.table("images", *(sa.column(name) for name in ("id", "x", "y", "fit", "file_type", "blur", "quality")))
# Columns of later versions of the service. Without them nothing was blurred, and the quality was the original's.
_LATER = ("blur", "quality")


@dataclass(frozen=True, slots=True)
class RenderedSize:
    """A size that the service has rendered, and the number of images.

    Attributes:
        quality: 0 to 100; None: the original's own.
    """

    width: int
    height: int
    fit: str
    media_type: str
    blur: bool
    quality: int | None
    images: int


class IaasDatabase:
    """The old database, opened for reading.

    Args:
        url: `postgresql://…`, without a password.
    """

    def __init__(self, url: str) -> None:
        self._engine = _open(url)

    def close(self) -> None:
        self._engine.dispose()

    def most_rendered(self, first: int) -> list[RenderedSize]:
        """Return the rendered sizes, those of the most images first.

        Raises:
            BadState: there is no such table.
            DatabaseFault: the database does not answer.
        """
        with self._read() as connection:
            columns = self._columns(connection)
            # Columns by name, and a literal for each column that this version of the service does not have.
            blur = sa.func.coalesce(_images.c.blur, sa.false()) if "blur" in columns else sa.false()
            quality = _images.c.quality if "quality" in columns else sa.literal(-1)
            size = sa.select(
                _images.c.x, _images.c.y, _images.c.fit, _images.c.file_type, blur.label("b"), quality.label("q")
            ).subquery()
            images = sa.func.count().label("images")
            statement = (
                sa.select(*size.c, images)
                .group_by(*size.c)
                .order_by(images.desc(), size.c.x, size.c.y, size.c.fit, size.c.file_type)
                .limit(first)
            )
            return [
                RenderedSize(row.x, row.y, row.fit, row.file_type, row.b, row.q if row.q >= 0 else None, row.images)
                for row in connection.execute(statement)
            ]

    def rendered_ids(self) -> Iterator[list[str]]:
        """Yield the ids of all rendered images, each once, in portions.

        Raises:
            BadState: there is no such table.
            DatabaseFault: the database does not answer.
        """
        with self._read() as connection:
            self._columns(connection)
            statement = sa.select(_images.c.id).where(_images.c.id.is_not(None)).distinct()
            found = iter(connection.execution_options(yield_per=ROWS_AT_ONCE).scalars(statement))
            while ids := list(islice(found, ROWS_AT_ONCE)):
                yield ids

    @contextmanager
    def _read(self) -> Iterator[sa.Connection]:
        with self._engine.connect() as connection:
            yield connection

    def _columns(self, connection: sa.Connection) -> set[str]:
        try:
            columns = {column["name"] for column in sa.inspect(connection).get_columns("images")}
        except sa.exc.NoSuchTableError:
            columns = set()
        if lacking := {column.name for column in _images.columns} - columns - set(_LATER):
            raise BadState(
                "This is not the database of the live-resize service.",
                field=("database",),
                expected="a table `images` with id, x, y, fit, file_type",
                got=f"a database without {', '.join(sorted(lacking))}",
            )
        return columns


def _open(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        # The text of the error may contain a password.
        raise _no_database() from None
    if parsed.get_backend_name() != "postgresql":
        raise _no_database()
    if parsed.password:
        raise Invalid(
            "A password on the command line is visible to other users.",
            field=("database",),
            expected="the password in PGPASSWORD or ~/.pgpass",
        )
    try:
        return sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            poolclass=sa.NullPool,
            execution_options={"postgresql_readonly": True},
            connect_args={"connect_timeout": CONNECT_SECONDS},
        )
    except ModuleNotFoundError as error:
        raise BadState(_MISSING, field=("database",), expected="pip install 'packshot[scale]'") from error


def _no_database() -> Invalid:
    return Invalid(
        "This is not the URL of a PostgreSQL database.", field=("database",), expected="postgresql://user@host/name"
    )
