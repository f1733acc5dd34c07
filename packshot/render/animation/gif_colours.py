"""Choose the colours of an animated GIF: exact while the colour table has room, else the nearest ones.

A pixel is a 32-bit number: red in the lowest byte, alpha in the highest; 0 is transparent. Table colours have no
alpha.
"""

from math import ceil, sqrt

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.uint16]
"""For each pixel, the index of its colour plus 1; 0 for a transparent or omitted pixel."""
Mask = npt.NDArray[np.bool_]

MAX_COLOURS = 256
OPAQUE = np.uint32(0xFF000000)
_COLOUR = np.uint32(0x00FFFFFF)

# Pixels of a frame from which its colours are chosen. All pixels would take six times as long.
_SAMPLE = 8192
# Pixels whose colours are counted first. A frame of many colours usually exceeds the limit here already.
_FIRST_CHUNK = 1 << 14
# Pixels that are passed to Pillow at once.
_STRIP = 1 << 20

# Target mean squared error per pixel, summed over the channels. Colours are added until it is reached.
_GOOD = 8.0
# A table fits another frame if the mean error is at most the first number, or at most this multiple of its own error.
_FITTING, _FITTING_RATIO = 48.0, 1.5
# A pixel with a larger error gets a colour of its own if there is room.
_SEEN = 24
# The share of pixels with an error above `_FAR` may grow by this much. More would change small new objects.
_FAR_SHARE, _FAR = 0.002, 1200
# Colours of more than this share of the pixels, and of more than this many pixels, are kept exactly.
_AREA, _AREA_PIXELS = 0.01, 8
_FEW_PLACES = 32
_REFINEMENTS = 3
# Table sizes that are tried in order, unless a frame has at least so many colours.
_TRIED, _MANY = (8, 16, 32, 64, 128), 2048


class ExactTable:
    """The colours of one or more frames. A colour keeps the index that it gets first."""

    def __init__(self) -> None:
        self.colours: Pixels = np.zeros(0, np.uint32)
        # Index of each colour plus 1; 0 means none. The kernel allocates only the pages of colours that occur.
        self._number_of = np.zeros(1 << 24, np.uint16)

    def numbers(self, pixels: Pixels, most: int) -> Numbers | None:
        """Return the index of each pixel's colour plus 1, and 0 for transparent pixels. New colours get the next
        indexes.

        Args:
            most: the largest number of colours in the table.

        Returns:
            None if there would be more than `most` colours. The table is unchanged then.
        """
        colours = pixels & _COLOUR
        numbers: Numbers = self._number_of[colours]
        unknown = colours[(numbers == 0) & (pixels != 0)]
        known = len(self.colours)
        chunk = _FIRST_CHUNK
        while len(unknown):
            new = np.unique(unknown[:chunk])
            first = len(self.colours) + 1
            if first - 1 + len(new) > most:
                self.forget(known)
                return None
            self._number_of[new] = np.arange(first, first + len(new), dtype=np.uint16)
            self.colours = np.concatenate((self.colours, new))
            unknown = unknown[chunk:]
            unknown = unknown[self._number_of[unknown] == 0]
            chunk *= 2
        if len(self.colours) > known:
            numbers = self._number_of[colours]
        numbers[pixels == 0] = 0
        return numbers

    def forget(self, kept: int = 0) -> None:
        """Drop all but the first `kept` colours."""
        self._number_of[self.colours[kept:]] = 0
        self.colours = self.colours[:kept]


class NearTable:
    """A table that maps each pixel to its nearest colour, and that can grow to fit further frames.

    Pixels are not dithered, because noise that changes between frames flickers and compresses badly.
    """

    def __init__(self) -> None:
        self.colours: Pixels = np.zeros(0, np.uint32)
        self._palette = Image.new("P", (1, 1))
        self._error, self._far = 0.0, 0.0

    @classmethod
    def of(cls, pixels: Pixels, most: int) -> "NearTable":
        """Build a table for opaque pixels, of at most `most` colours, or fewer if they suffice."""
        table = cls()
        sample = _sample(pixels)
        table._grow(sample, most)
        table._error, table._far = table._errors_of(sample)
        return table

    def fits(self, pixels: Pixels) -> bool:
        """Return whether the table shows opaque pixels about as well as those that it was built for."""
        return self._is_as_good(_sample(pixels))

    def grow_to_fit(self, pixels: Pixels, most: int) -> bool:
        """Add colours for opaque pixels, up to `most` in all; return whether the table now fits them.

        The table is unchanged if it does not.
        """
        sample = _sample(pixels)
        known = self.colours
        self._grow(sample, most)
        if self._is_as_good(sample):
            return True
        self._set(known)
        return False

    def numbers(self, pixels: Pixels) -> Numbers:
        """Return the index of each pixel's nearest colour plus 1, and 0 for transparent pixels."""
        numbers: Numbers = np.empty(pixels.shape, np.uint16)
        # In strips, because Pillow's copies take three times the memory of the pixels.
        rows = max(1, _STRIP * len(pixels) // max(1, pixels.size))
        for top in range(0, len(pixels), rows):
            strip = pixels[top : top + rows]
            nearest = np.asarray(_picture(strip).quantize(palette=self._palette, dither=Image.Dither.NONE))
            numbers[top : top + rows] = nearest.reshape(strip.shape)
        numbers += np.uint16(1)
        numbers[pixels == 0] = 0
        return numbers

    def _is_as_good(self, sample: Pixels) -> bool:
        error, far = self._errors_of(sample)
        # In a small sample the share may be larger by chance.
        most_far = self._far + _FAR_SHARE + 3 * sqrt(self._far / len(sample))
        return error <= max(_FITTING, self._error * _FITTING_RATIO) and far <= most_far

    def _errors_of(self, sample: Pixels) -> tuple[float, float]:
        """Return the mean squared error per pixel, and the share of pixels with a large error."""
        errors = self._errors(sample)
        return float(errors.mean()), float((errors > _FAR).mean())

    def _errors(self, sample: Pixels) -> npt.NDArray[np.int32]:
        if not len(self.colours):
            return np.full(sample.shape, np.iinfo(np.int32).max)
        return squared_errors(sample, self.colours[self.numbers(sample).astype(np.intp) - 1])

    def _grow(self, sample: Pixels, most: int) -> None:
        room = most - len(self.colours)
        errors = self._errors(sample)
        # The last places are reserved for pixels with a large error.
        rest = sample[errors > (_FAR if room < _FEW_PLACES else _SEEN)]
        if room < 1 or not len(rest):
            return
        unique, counts = np.unique(rest & _COLOUR, return_counts=True)
        # Colours of large areas stay exact.
        areas = unique[np.argsort(-counts)][: int((counts > max(_AREA * len(sample), _AREA_PIXELS)).sum())][: room // 2]
        self._add(areas)
        known = self.colours
        rest = rest[self._errors(rest) > _SEEN]
        room = most - len(known)
        # Small tables never suffice for a photograph.
        tried = _TRIED if len(unique) < _MANY else ()
        for colours in (*(count for count in tried if count < room), room):
            if not len(rest) or not room:
                return
            palette = _picture(rest).quantize(colours).getpalette("RGB") or []
            found = _packed(np.array(palette, np.uint8).reshape(-1, 3)[:colours])
            self._set(known)
            self._add(found)
            if colours == room or self._errors(rest).mean() <= _GOOD:
                self._set(known)
                self._add(_refined(rest, found))
                return

    def _add(self, colours: Pixels) -> None:
        self._set(np.concatenate((self.colours, np.setdiff1d(colours, self.colours))))

    def _set(self, colours: Pixels) -> None:
        self.colours = colours
        self._palette = Image.new("P", (1, 1))
        self._palette.putpalette(bytes_of(colours))


def _refined(sample: Pixels, colours: Pixels) -> Pixels:
    """Move each colour to the mean of its nearest pixels, several times (k-means).

    All sums are integers below 2^24, so every machine computes the same result.
    """
    pixels = _channels(sample)
    for _ in range(_REFINEMENTS):
        centres = _channels(colours)
        nearest = ((centres**2).sum(axis=1) - 2 * (pixels @ centres.T)).argmin(axis=1)
        counts = np.bincount(nearest, minlength=len(colours))
        sums = [np.bincount(nearest, pixels[:, channel], len(colours)) for channel in range(3)]
        means = np.stack(sums, axis=1) / np.maximum(counts, 1)[:, None]
        colours = _packed(np.floor(np.where(counts[:, None] > 0, means, centres) + 0.5).astype(np.uint8))
    return colours


def _channels(colours: Pixels) -> npt.NDArray[np.float32]:
    parts = np.ascontiguousarray(colours, "<u4").view(np.uint8).reshape(-1, 4)[:, :3]
    return parts.astype(np.float32)


def _sample(pixels: Pixels) -> Pixels:
    return pixels[:: max(1, len(pixels) // _SAMPLE)]


def squared_errors(one: Pixels, other: Pixels) -> npt.NDArray[np.int32]:
    """Return the squared distance of each pair of colours, summed over the channels."""
    total = np.zeros(one.shape, np.int32)
    for shift in (0, 8, 16):
        difference = (one >> np.uint32(shift) & np.uint32(255)).astype(np.int32)
        difference -= (other >> np.uint32(shift) & np.uint32(255)).astype(np.int32)
        total += difference * difference
    return total


def pixels_of(picture: Image.Image) -> Pixels:
    """Return the pixels of an RGBA image as an array of shape (height, width)."""
    return np.frombuffer(picture.tobytes(), "<u4").reshape(picture.height, picture.width)


def bytes_of(colours: Pixels) -> bytes:
    """Return the colours as RGB, three bytes per colour."""
    return np.ascontiguousarray(colours, "<u4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def with_sampled_colours(picture: Image.Image, colours: int) -> Image.Image:
    """Quantise an RGB image to at most `colours` colours, chosen from a sample of its pixels."""
    step = ceil(sqrt(picture.width * picture.height / _SAMPLE))
    if step < 2 or picture.getcolors(colours) is not None:
        return picture.quantize(colours)  # an image of few colours keeps each of them
    sample = picture.resize((ceil(picture.width / step), ceil(picture.height / step)), Image.Resampling.NEAREST)
    # Not dithered, because noise that changes between frames flickers and compresses badly.
    return picture.quantize(palette=sample.quantize(colours), dither=Image.Dither.NONE)


def _picture(pixels: Pixels) -> Image.Image:
    data = np.ascontiguousarray(pixels, "<u4")
    height, width = data.shape if data.ndim == 2 else (1, len(data))
    return Image.frombytes("RGBA", (width, height), data.tobytes()).convert("RGB")


def _packed(colours: npt.NDArray[np.uint8]) -> Pixels:
    wide = colours.astype(np.uint32)
    packed: Pixels = wide[:, 0] | wide[:, 1] << np.uint32(8) | wide[:, 2] << np.uint32(16)
    return packed
