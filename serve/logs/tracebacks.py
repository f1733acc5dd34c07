"""Format an exception's traceback with a bounded number of lines."""

import traceback
from collections.abc import Iterator
from pathlib import Path

MAX_EXCEPTIONS = 4  # of a chain
MAX_FRAMES = 12  # of one exception
MAX_TEXT = 600  # characters of one exception's text
MAX_LINES = 100

_PACKAGES = tuple(
    str(Path(__file__).resolve().parent.parent.parent / name) + "/"
    for name in ("packshot", "pregen", "resolvers", "schema", "serve")
)
_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"


def format_bounded(error: BaseException) -> str:
    """Return the traceback in Python's format, without most library frames and the middle of long chains."""
    chain = list(_chain(error))
    left_out = len(chain) - MAX_EXCEPTIONS
    if left_out > 0:
        chain[2 : len(chain) - 2] = []
    lines: list[str] = []
    # The root cause is last in the chain, and Python prints it first.
    for number, (link, one) in enumerate(reversed(chain)):
        lines += _format_one(one)
        if number < len(chain) - 1:
            if left_out > 0 and number == 1:
                lines += ["", f"… {left_out} more exceptions …"]
            lines += ["", link, ""]
    if len(lines) > MAX_LINES:
        half = MAX_LINES // 2
        lines[half:-half] = [f"… {len(lines) - 2 * half} more lines …"]
    return "\n".join(lines)


def _chain(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    """Yield the exception and its causes, the newest first, each with the line that introduces the next."""
    link, seen = "", set[int]()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield link, one
        if isinstance(one, BaseExceptionGroup):
            link, one = f"The above exception is the first of {len(one.exceptions)} in:", one.exceptions[0]
        elif one.__cause__ is not None:
            link, one = _CAUSE, one.__cause__
        else:
            link, one = _CONTEXT, None if one.__suppress_context__ else one.__context__


def _format_one(error: BaseException) -> list[str]:
    lines = []
    frames = traceback.extract_tb(error.__traceback__)
    if frames:
        lines.append("Traceback (most recent call last):")
    own = [number for number, frame in enumerate(frames) if frame.filename.startswith(_PACKAGES)]
    # Keep the line that raised, and the innermost frame of Packshot that led to it.
    last = range(max(0, len(frames) - 3), len(frames))
    shown = sorted({*own[-(MAX_FRAMES - len(last)) :], *last})
    before = -1
    for number in shown:
        if number > before + 1:
            lines.append(f"  … {number - before - 1} frames")
        frame = frames[number]
        lines.append(f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}')
        if frame.line:
            lines.append(f"    {frame.line}")
        before = number
    text = "".join(traceback.format_exception_only(error)).rstrip()
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - 1] + "…"
    return lines + text.splitlines()
