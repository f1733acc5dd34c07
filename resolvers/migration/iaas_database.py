"""The database of the live-resize service that Packshot takes the place of; it is only read.

Its table `images` has one row for each picture that it ever rendered and has not
forgotten since: the image's id, the size with its scale already in it, fit, media
type, blur and quality. How often one was asked for it does not know.
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
# Those that came with later versions of the service; without them nothing was blurred, and the quality its own.
_LATER = ("blur", "quality")


@dataclass(frozen=True, slots=True)
class RenderedSize:
    """A size that the service rendered, and of how many images.

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
        url: `postgresql://…`, without a password in it.
    """

    def __init__(self, url: str) -> None:
        self._engine = _open(url)

    def close(self) -> None:
        self._engine.dispose()

    def most_rendered(self, first: int) -> list[RenderedSize]:
        """Return the sizes that were rendered of most images.

        Raises:
            BadState: there is no such table.
            DatabaseFault: the database does not answer.
        """
        with self._read() as connection:
            columns = self._columns(connection)
            # By name, and a literal where this version of the service had none.
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
        """Yield the ids of all images that were ever rendered, each once, some at a time; no more are held.

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
                "That is not the database of the live-resize service.",
                field=("database",),
                expected="a table `images` with id, x, y, fit, file_type",
                got=f"none of {', '.join(sorted(lacking))}",
            )
        return columns


def _open(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        # Its text may hold a password.
        raise _no_database() from None
    if parsed.get_backend_name() != "postgresql":
        raise _no_database()
    if parsed.password:
        raise Invalid(
            "A password does not belong on the command line, where others see it.",
            field=("database",),
            expected="it in PGPASSWORD, or in ~/.pgpass",
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
    return Invalid("That is no PostgreSQL database.", field=("database",), expected="postgresql://user@host/name")
