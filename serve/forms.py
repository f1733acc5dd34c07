"""Multipart forms whose last part is a file: read as they come, nothing of the file held."""

from collections import deque
from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from packshot.errors import Invalid

# Of all that comes before the file: fields, headers and boundaries.
MOST_FIELD_BYTES = 1 << 16


class Form:
    """One request's form. Ask for `fields`, then for `file`.

    Args:
        file: the name of the part with the file; None: the first that has a file's name, whatever its own is.

    Raises:
        Invalid: the request has no form in it.
    """

    def __init__(self, request: Request, file: str | None = "file") -> None:
        self._file = file
        kind, options = parse_options_header(request.headers.get("content-type"))
        if kind != b"multipart/form-data" or b"boundary" not in options:
            raise _no_form(kind.decode("latin-1"))
        self._stream = request.stream()
        try:
            self._parser = MultipartParser(
                options[b"boundary"],
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._read_name,
                    "on_header_value": self._read_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._read_data,
                    "on_part_end": self._end_part,
                },
            )
        except FormParserError as error:
            raise _no_form(error) from None
        self._fields: dict[str, str] = {}
        self._part, self._header_name, self._header_value, self._data = "", b"", b"", b""
        self._named = False
        self._size = 0
        self._chunks: deque[bytes] = deque()
        self._began = self._ended = False

    async def fields(self) -> dict[str, str]:
        """Return the fields before the file.

        Raises:
            Invalid: the form is malformed, ends without a file, or has too much before it.
        """
        while not self._began:
            await self._read()
        return self._fields

    async def file(self) -> AsyncIterator[bytes]:
        """Yield the file's bytes; what follows it is not read.

        Raises:
            Invalid: the form ends within it.
        """
        while True:
            while self._chunks:
                yield self._chunks.popleft()
            if self._ended:
                return
            await self._read()

    async def _read(self) -> None:
        chunk = await anext(self._stream, b"")
        if not chunk:
            part = "a file" if self._file is None else f"the part {self._file!r}"
            raise Invalid("The form ended early.", expected=f"fields, then {part} to its end")
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise _no_form(error) from None

    def _begin_part(self) -> None:
        self._part, self._data, self._named = "", b"", False

    def _read_name(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._header_name += data[start:end]

    def _read_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, options = parse_options_header(self._header_value)
            self._part = options.get(b"name", b"").decode("utf-8", "replace")
            self._named = bool(options.get(b"filename"))
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        self._began = self._began or (self._named if self._file is None else self._part == self._file)

    def _read_data(self, data: bytes, start: int, end: int) -> None:
        if self._ended:
            return
        if self._began:
            self._chunks.append(data[start:end])
            return
        self._count(end - start)
        self._data += data[start:end]

    def _end_part(self) -> None:
        if self._began:
            self._ended = True
        else:
            self._fields[self._part] = self._data.decode("utf-8", "replace")

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > MOST_FIELD_BYTES:
            raise Invalid("The form has too much before its file.", expected=f"at most {MOST_FIELD_BYTES} bytes")


def _no_form(got: object) -> Invalid:
    return Invalid("That is no form.", expected="multipart/form-data", got=got)
