"""References for image comparisons: resampling and blurring in floating point, and a measure of likeness."""

import numpy as np
import numpy.typing as npt

from packshot.geometry import Box, Size

Pixels = npt.NDArray[np.float64]
"""Rows, columns and channels, 0.0 to 255.0."""

# Constants of SSIM for 8 bits, and its window: 11 pixels, a Gaussian of 1.5 (Wang et al. 2004).
_LUMINANCE, _CONTRAST = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_WINDOW = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
_WINDOW /= _WINDOW.sum()


def lanczos(pixels: npt.ArrayLike, box: Box, size: Size) -> Pixels:
    """Resample `box` of an image to `size` with a Lanczos filter of 3 lobes, in floating point."""
    pixels = np.asarray(pixels, float)
    across = _weights(pixels.shape[1], box.left, box.width, size.width)
    down = _weights(pixels.shape[0], box.top, box.height, size.height)
    return np.stack([down @ (pixels[:, :, band] @ across.T) for band in range(pixels.shape[2])], axis=-1)


def _weights(inner: int, start: int, length: int, outer: int) -> Pixels:
    scale = length / outer
    centres = start + (np.arange(outer) + 0.5) * scale
    distance = (np.arange(inner) + 0.5 - centres[:, None]) / max(scale, 1.0)
    weights = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0.0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), float)


def gaussian(pixels: npt.ArrayLike, deviation: float) -> Pixels:
    """Blur with a Gaussian; the outermost pixels repeat beyond the edges."""
    pixels = np.asarray(pixels, float)
    reach = int(4 * deviation) + 1
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * deviation**2))
    kernel /= kernel.sum()
    padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    return _convolved(padded, kernel)


def ssim(one: npt.ArrayLike, other: npt.ArrayLike) -> float:
    """Return the mean structural similarity of two RGB images' luma; 1.0 means equal."""
    first, second = _luma(one), _luma(other)
    means = _convolved(first, _WINDOW), _convolved(second, _WINDOW)
    variances = [
        _convolved(picture**2, _WINDOW) - mean**2 for picture, mean in zip((first, second), means, strict=True)
    ]
    covariance = _convolved(first * second, _WINDOW) - means[0] * means[1]
    likeness = (2 * means[0] * means[1] + _LUMINANCE) * (2 * covariance + _CONTRAST)
    norm = (means[0] ** 2 + means[1] ** 2 + _LUMINANCE) * (variances[0] + variances[1] + _CONTRAST)
    return float((likeness / norm).mean())


def _luma(pixels: npt.ArrayLike) -> Pixels:
    return np.asarray(np.asarray(pixels, float)[:, :, :3] @ np.array([0.299, 0.587, 0.114]), float)


def _convolved(pixels: Pixels, kernel: Pixels) -> Pixels:
    rows = pixels.shape[0] - len(kernel) + 1
    down = sum((kernel[at] * pixels[at : at + rows] for at in range(len(kernel))), np.zeros(1))
    columns = pixels.shape[1] - len(kernel) + 1
    return np.asarray(sum((kernel[at] * down[:, at : at + columns] for at in range(len(kernel))), np.zeros(1)))
