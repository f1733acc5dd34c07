"""A TIFF writer for tests: every layout of the format, including those that no other writer makes."""

import lzma
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.generic]
Order = Literal["<", ">"]
"""Of bytes: little endian or big endian."""

NONE, LZW, DEFLATE, OLD_DEFLATE, PACKBITS, LZMA = 1, 5, 8, 32946, 32773, 34925
SHORT, LONG = 3, 4
_STRUCT = {1: "B", 2: "B", SHORT: "H", LONG: "I"}
_SAMPLE_FORMAT = {"u": 1, "i": 2, "f": 3}


def tiff(
    samples: Samples,
    *,
    photometric: int,
    bits: int | None = None,
    planar: int = 1,
    order: Order = "<",
    compression: int = NONE,
    predictor: int = 1,
    tile: int = 0,
    rows: int = 0,
    extra: Sequence[int] = (),
    tags: Mapping[int, tuple[int, Sequence[int]]] | None = None,
    second: Mapping[int, tuple[int, Sequence[int]]] | None = None,
) -> bytes:
    """Return a file of `samples`, of shape height x width x channels and of the type that the file is to hold.

    Args:
        bits: of each sample, where they are packed closer than the type tells: 1, 2, 4 or 12.
        order: "<" for little endian, ">" for big endian.
        predictor: 2 for differences of numbers, 3 for those of the bytes of fractions.
        tile: side in pixels, a multiple of 16; 0: strips.
        rows: of a strip; 0: all in one strip.
        tags: further ones, or other values of those above: type and values by number.
        second: as in `file`.
    """
    height, width, channels = samples.shape
    depth = bits or samples.dtype.itemsize * 8
    rows = rows or height
    box_height, box_width = (tile, tile) if tile else (rows, width)
    planes = [samples] if planar == 1 else [samples[..., channel : channel + 1] for channel in range(channels)]
    parts = []
    for plane in planes:
        for top in range(0, height, box_height):
            for left in range(0, width, box_width):
                part = plane[top : top + box_height, left : left + box_width]
                if tile:
                    missing = (tile - part.shape[0], tile - part.shape[1])
                    part = np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
                parts.append(compressed(_raw(part, depth, order, predictor), compression))
    entries: dict[int, tuple[int, Sequence[int]]] = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [depth] * channels),
        259: (SHORT, [compression]),
        262: (SHORT, [photometric]),
        277: (SHORT, [channels]),
        284: (SHORT, [planar]),
    }
    if extra:
        entries[338] = (SHORT, extra)
    if samples.dtype.kind != "u":
        entries[339] = (SHORT, [_SAMPLE_FORMAT[samples.dtype.kind]] * channels)
    if predictor != 1:
        entries[317] = (SHORT, [predictor])
    if tile:
        entries |= {322: (LONG, [tile]), 323: (LONG, [tile])}
    else:
        entries[278] = (LONG, [rows])
    return file(entries | dict(tags or {}), parts, order, tiled=bool(tile), second=second)


def file(
    entries: Mapping[int, tuple[int, Sequence[int]]],
    parts: Sequence[bytes],
    order: Order = "<",
    *,
    tiled: bool = False,
    second: Mapping[int, tuple[int, Sequence[int]]] | None = None,
) -> bytes:
    """Return a file of one image whose strips or tiles are `parts`.

    Args:
        second: tags of a second image without samples, to whose directory tag 330 of the first points.
    """
    offsets = [8]
    for part in parts:
        offsets.append(offsets[-1] + len(part) + len(part) % 2)
    body = b"".join(part + b"\0" * (len(part) % 2) for part in parts)
    where, lengths = (324, 325) if tiled else (273, 279)
    whole = dict(entries) | {where: (LONG, offsets[:-1]), lengths: (LONG, [len(part) for part in parts])}
    first = 8 + len(body)
    if second is not None:
        other = _directory(second, first, order)
        whole[330] = (LONG, [first])
        body += other
        first += len(other)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", first)
    return head + body + _directory(whole, first, order)


def _directory(entries: Mapping[int, tuple[int, Sequence[int]]], at: int, order: Order) -> bytes:
    far = at + 2 + 12 * len(entries) + 4
    table, beyond = struct.pack(order + "H", len(entries)), b""
    for tag, (kind, values) in sorted(entries.items()):
        data = b"".join(struct.pack(order + _STRUCT[kind], value) for value in values)
        table += struct.pack(order + "HHI", tag, kind, len(values))
        if len(data) <= 4:
            table += data.ljust(4, b"\0")
        else:
            table += struct.pack(order + "I", far + len(beyond))
            beyond += data + b"\0" * (len(data) % 2)
    return table + b"\0\0\0\0" + beyond


def _raw(part: Samples, depth: int, order: Order, predictor: int) -> bytes:
    height, width, channels = part.shape
    if depth < part.dtype.itemsize * 8:
        # Packed from the highest bit on; each row begins at a byte.
        shifts = np.arange(depth - 1, -1, -1)
        rows = (part.reshape(height, width * channels, 1).astype(np.uint32) >> shifts & 1).astype(np.uint8)
        return np.packbits(rows.reshape(height, -1), axis=1).tobytes()
    if predictor == 2:
        numbers = part.view(f"u{part.dtype.itemsize}")
        before = np.concatenate([np.zeros_like(numbers[:, :1]), numbers[:, :-1]], axis=1)
        return np.asarray(numbers - before).astype(numbers.dtype.newbyteorder(order)).tobytes()
    if predictor == 3:
        # In each row all highest bytes come first, in both byte orders; then the differences of bytes.
        split = part.astype(part.dtype.newbyteorder(">")).reshape(height, -1, 1).view(np.uint8)
        planes = split.transpose(0, 2, 1).reshape(height, -1)
        before = np.concatenate([np.zeros((height, channels), np.uint8), planes[:, :-channels]], axis=1)
        return np.asarray(planes - before).tobytes()
    return part.astype(part.dtype.newbyteorder(order)).tobytes()


def compressed(data: bytes, compression: int) -> bytes:
    """Return `data` as the bytes of one strip."""
    match compression:
        case 5:
            return _lzw(data)
        case 8 | 32946:
            return zlib.compress(data)
        case 32773:
            return b"".join(
                bytes([len(run) - 1]) + run for run in (data[at : at + 128] for at in range(0, len(data), 128))
            )
        case 34925:
            return lzma.compress(data, check=lzma.CHECK_NONE, preset=0)
    return data


def _lzw(data: bytes) -> bytes:
    # Table and codes are as in the standard, 9 to 12 bits long from the highest bit on.
    codes: list[tuple[int, int]] = []
    table: dict[bytes, int] = {}

    def clear() -> None:
        table.clear()
        table.update({bytes([value]): value for value in range(256)})

    clear()
    codes.append((256, 9))
    following, width = 258, 9
    word = b""
    for value in data:
        longer = word + bytes([value])
        if longer in table:
            word = longer
            continue
        codes.append((table[word], width))
        table[longer] = following
        following += 1
        if following == 4095:
            codes.append((256, 12))
            clear()
            following, width = 258, 9
        elif following == 1 << width and width < 12:
            width += 1
        word = bytes([value])
    if word:
        codes.append((table[word], width))
        following += 1
        if following == 1 << width and width < 12:
            width += 1
    codes.append((257, width))
    bits = "".join(format(code, f"0{length}b") for code, length in codes)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8)
