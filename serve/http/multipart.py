"""Read multipart forms whose last part is a file (RFC 7578) as a stream, without holding the file."""

import re
from collections.abc import AsyncIterator

from python_multipart.multipart import parse_options_header
from starlette.requests import Request

from packshot.errors import Invalid

# Bytes before the file: preamble, boundaries, headers and fields.
MAX_FIELD_BYTES = 1 << 16
MAX_PARTS = 32  # before the file
MAX_PART_HEAD_BYTES = 8192  # all headers of one part
MAX_BOUNDARY_BYTES = 70  # RFC 2046, section 5.1.1
MAX_PADDING_BYTES = 256  # white space between a boundary and the end of its line
MAX_CONTENT_TYPE_BYTES = 1024
MAX_SHOWN_CHARACTERS = 100  # of client text in a refusal
_LINE_END = b"\r\n"
_FOLD = re.compile(rb"\r\n(?=[ \t])")
_HEADER = re.compile(rb"(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+):(?P<value>[^\r\n]*)")
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')
_EXTENDED_FILE_NAME = re.compile(rb";\s*filename\*(?:0\*?)?\s*=", re.IGNORECASE)


class Form:
    """The form in one request. Call `fields` first, then `file`.

    Args:
        file: the name of the file's part; None: the first part with a file name.

    Raises:
        Invalid: the request has no form.
    """

    def __init__(self, request: Request, file: str | None = "file") -> None:
        self._file = file
        boundary = _read_boundary(request.headers.get("content-type", ""))
        self._stream = request.stream()
        # Every delimiter but the first follows the end of a line, which is part of it.
        rest = b"--" + re.escape(boundary) + rb"(?:(?P<last>--)|[ \t]{0,%d}(?=\r\n))" % MAX_PADDING_BYTES
        self._first_delimiter = re.compile(b"\n" + rest)
        self._delimiter = re.compile(_LINE_END + rest)
        # An incomplete delimiter begins at most this number of bytes before the end of the buffer.
        self._undecided_bytes = len(boundary) + MAX_PADDING_BYTES + 6
        # A delimiter may begin the body, or follow a preamble (RFC 2046, section 5.1.1).
        self._buffer = bytearray(b"\n")
        self._read_bytes = 0  # taken from the buffer before the file
        self._other_file: str | None = None  # the first part that has a file name and is not the expected one

    async def fields(self) -> dict[str, str]:
        """Return the fields before the file.

        Raises:
            Invalid: the form is malformed, ends without a file, or has too much data before the file.
        """
        fields: dict[str, str] = {}
        _, is_last = await self._take_part(self._first_delimiter)
        for _ in range(MAX_PARTS + 1):
            if is_last:
                raise self._ended()
            name, has_file_name = _read_disposition(await self._take_head())
            if has_file_name if self._file is None else name == self._file:
                return fields
            if has_file_name and self._other_file is None:
                self._other_file = name
            value, is_last = await self._take_part(self._delimiter)
            fields[name] = value.decode("utf-8", "replace")
        raise self._too_much(f"at most {MAX_PARTS} parts")

    async def file(self) -> AsyncIterator[bytes]:
        """Yield the file's bytes. The form after the file is not read.

        Raises:
            Invalid: the form ends within the file.
        """
        while True:
            delimiter = self._delimiter.search(self._buffer)
            end = delimiter.start() if delimiter else max(0, len(self._buffer) - self._undecided_bytes)
            if end:
                piece = bytes(self._buffer[:end])
                del self._buffer[:end]
                yield piece
            if delimiter:
                return
            await self._receive()

    async def _take_part(self, delimiter: re.Pattern[bytes]) -> tuple[bytes, bool]:
        """Take everything up to a delimiter, and the delimiter without the end of its line.

        Returns:
            The data before the delimiter, and whether the delimiter ends the form.
        """
        start = 0
        while (found := delimiter.search(self._buffer, start)) is None:
            start = max(0, len(self._buffer) - self._undecided_bytes)
            await self._receive_before_file()
        is_last = found["last"] is not None
        return self._take(found.end())[: found.start()], is_last

    async def _take_head(self) -> bytes:
        """Take the headers of a part, from the end of the delimiter's line to the empty line after the headers."""
        start, ending = 0, 2 * _LINE_END
        while (end := self._buffer.find(ending, start, MAX_PART_HEAD_BYTES)) < 0:
            start = max(0, len(self._buffer) - len(ending))
            if len(self._buffer) >= MAX_PART_HEAD_BYTES:
                expected = f"at most {MAX_PART_HEAD_BYTES} bytes"
                raise Invalid("The headers of a part of the form are too long.", expected=expected)
            await self._receive_before_file()
        return self._take(end + len(ending))[:end].removeprefix(_LINE_END)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._read_bytes += size
        self._check_size(self._read_bytes)
        return taken

    async def _receive_before_file(self) -> None:
        self._check_size(self._read_bytes + len(self._buffer))
        await self._receive()

    def _check_size(self, size: int) -> None:
        # All bytes count, because preambles and boundaries cost work too.
        if size > MAX_FIELD_BYTES:
            raise self._too_much(f"at most {MAX_FIELD_BYTES} bytes")

    async def _receive(self) -> None:
        received = await anext(self._stream, b"")
        if not received:
            raise self._ended()
        self._buffer += received

    def _ended(self) -> Invalid:
        part = "a file" if self._file is None else f"the part {self._file!r}"
        return self._misnamed() or Invalid("The form ended early.", expected=f"fields, then {part} to its end")

    def _too_much(self, expected: str) -> Invalid:
        return self._misnamed() or Invalid("The form has too much data before its file.", expected=expected)

    def _misnamed(self) -> Invalid | None:
        """Return the refusal of a form whose file is in another part; None: no other part has a file."""
        if self._other_file is None:
            return None
        got = f"the part {self._other_file[:MAX_SHOWN_CHARACTERS]!r}"
        return Invalid("The form has its file in another part.", expected=f"the part {self._file!r}", got=got)


def _read_boundary(content_type: str) -> bytes:
    """Return the boundary of a request's form.

    Raises:
        Invalid: the request has no form, or a boundary that is not allowed.
    """
    if len(content_type) > MAX_CONTENT_TYPE_BYTES:
        raise Invalid("The content type is too long.", expected=f"at most {MAX_CONTENT_TYPE_BYTES} bytes")
    kind, options = parse_options_header(content_type)
    boundary: bytes = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise Invalid("The body is not a form.", expected="multipart/form-data; boundary=…", got=kind.decode("latin-1"))
    if len(boundary) > MAX_BOUNDARY_BYTES:
        raise Invalid("The form's boundary is too long.", expected=f"at most {MAX_BOUNDARY_BYTES} bytes")
    return boundary


def _read_disposition(head: bytes) -> tuple[str, bool]:
    """Return the name of a part, and whether it has a file name. Folded lines are joined.

    Raises:
        Invalid: a line is no header.
    """
    name, has_file_name = "", False
    for line in _FOLD.sub(b"", head).split(_LINE_END) if head else ():
        header = _HEADER.fullmatch(line)
        if header is None:
            got = line[:MAX_SHOWN_CHARACTERS].decode("utf-8", "replace")
            raise Invalid("A part of the form has a malformed header.", expected="lines <name>: <value>", got=got)
        if header["name"].lower() == b"content-disposition":
            _, options = parse_options_header(header["value"].strip())
            name = options.get(b"name", b"").decode("utf-8", "replace")
            # The parser ignores extended parameters (RFC 5987). Only the presence of a file name matters here.
            unquoted = _QUOTED.sub(b"", header["value"])
            has_file_name = bool(options.get(b"filename")) or _EXTENDED_FILE_NAME.search(unquoted) is not None
    return name, has_file_name
