"""Multipart forms whose last part is a file: read as they come, nothing of the file held."""

import re
from collections import deque
from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from packshot.errors import Invalid

# Of all that comes before the file: preamble, boundaries, headers and fields.
MOST_FIELD_BYTES = 1 << 16
MAX_PARTS = 32  # before the file
MAX_BOUNDARY_BYTES = 70  # RFC 2046, section 5.1.1
MAX_CONTENT_TYPE_BYTES = 1024
# Parsed at once, so that little is parsed in vain where a form is refused or its file has ended.
_PIECE_BYTES = 4096
_FILE_PIECE_BYTES = 65_536
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')
_EXTENDED_FILE_NAME = re.compile(rb";\s*filename\*(?:0\*?)?\s*=", re.IGNORECASE)


class Form:
    """One request's form. Ask for `fields`, then for `file`.

    Args:
        file: the name of the part with the file; None: the first that has a file's name, whatever its own is.

    Raises:
        Invalid: the request has no form in it.
    """

    def __init__(self, request: Request, file: str | None = "file") -> None:
        self._file = file
        content_type = request.headers.get("content-type", "")
        if len(content_type) > MAX_CONTENT_TYPE_BYTES:
            raise Invalid("The content type is too long.", expected=f"at most {MAX_CONTENT_TYPE_BYTES} bytes")
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise _no_form(kind.decode("latin-1"))
        if len(boundary) > MAX_BOUNDARY_BYTES:
            raise Invalid("The form's boundary is too long.", expected=f"at most {MAX_BOUNDARY_BYTES} bytes")
        self._stream = request.stream()
        # A preamble may stand before the first delimiter (RFC 2046, section 5.1.1), which begins a line.
        self._delimiter = b"\n--" + boundary
        self._preamble: bytes | None = b"\n"
        try:
            self._parser = MultipartParser(
                boundary,
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
        self._part, self._header_name, self._header_value, self._data = "", b"", b"", bytearray()
        self._named = False
        self._size = self._parts = 0
        self._received = memoryview(b"")
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
        """Parse the next piece of what comes."""
        if not self._received:
            self._received = memoryview(await anext(self._stream, b""))
        if not self._received:
            part = "a file" if self._file is None else f"the part {self._file!r}"
            raise Invalid("The form ended early.", expected=f"fields, then {part} to its end")
        size = _FILE_PIECE_BYTES if self._began else _PIECE_BYTES
        piece, self._received = bytes(self._received[:size]), self._received[size:]
        try:
            self._parser.write(self._skip_preamble(piece))
        except FormParserError as error:
            raise _no_form(error) from None
        if not self._began:
            # Every byte, as preambles and boundaries are work too.
            self._size += len(piece)
            if self._size > MOST_FIELD_BYTES:
                raise _too_much(f"at most {MOST_FIELD_BYTES} bytes")

    def _skip_preamble(self, piece: bytes) -> bytes:
        """Return what of a piece the parser is to read: from the first delimiter on."""
        if self._preamble is None:
            return piece
        before = self._preamble + piece
        start = before.find(self._delimiter)
        if start < 0:
            # The end may be the beginning of the delimiter.
            self._preamble = before[-len(self._delimiter) :]
            return b""
        self._preamble = None
        return before[start + 1 :]

    def _begin_part(self) -> None:
        self._part, self._data, self._named = "", bytearray(), False
        if not self._began:
            self._parts += 1
            if self._parts > MAX_PARTS + 1:
                raise _too_much(f"at most {MAX_PARTS} parts")

    # The parser bounds the number of a part's headers, and the size of each.

    def _read_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _read_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            _, options = parse_options_header(self._header_value)
            self._part = options.get(b"name", b"").decode("utf-8", "replace")
            # The parser leaves out extended parameters (RFC 5987). That there is a file's name is enough to know.
            unquoted = _QUOTED.sub(b"", self._header_value)
            self._named = bool(options.get(b"filename")) or _EXTENDED_FILE_NAME.search(unquoted) is not None
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        self._began = self._began or (self._named if self._file is None else self._part == self._file)

    def _read_data(self, data: bytes, start: int, end: int) -> None:
        if self._ended:
            return
        if self._began:
            self._chunks.append(data[start:end])
        else:
            self._data += data[start:end]

    def _end_part(self) -> None:
        if self._began:
            self._ended = True
        else:
            self._fields[self._part] = self._data.decode("utf-8", "replace")


def _no_form(got: object) -> Invalid:
    return Invalid("That is no form.", expected="multipart/form-data", got=got)


def _too_much(expected: str) -> Invalid:
    return Invalid("The form has too much before its file.", expected=expected)
