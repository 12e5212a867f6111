"""How far the two dates are apart after alignment by their headers. Reported, never applied.

Edges survive a change of season, sun and sensor better than brightness, so the gradient magnitudes of both dates are
compared, by normalised cross-correlation over the pixels valid in both (Padfield 2012, "Masked object registration in
the Fourier domain"), in several windows whose correlation surfaces are averaged.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from odc.geo.geobox import GeoBox

from codemae_geo.raster.geo import ground_size, shifted
from codemae_geo.raster.read import AlignedReader, Pixels
from codemae_geo.sensors import Array, Mask, to_amplitude

Quality = Literal["good", "weak", "unknown"]

#: side of a window in pixels
WINDOW = 512
#: windows used, and places tried to find them
WINDOWS, PLACES_PER_SIDE = 9, 5
#: smallest share of a window that both dates must cover
MIN_COVER = 0.5
#: a clear peak stands this far above the rest of the surface, in its standard deviations; the highest of 16,000 values
#: of pure noise reaches about 4
CLEAR_PEAK = 7.0
#: a clear peak is that much higher than the highest value away from it
CLEAR_RATIO = 1.25
#: pixels around the peak that belong to it
PEAK_RADIUS = 6


@dataclass(frozen=True)
class OffsetEstimate:
    """Where the post date lies relative to the pre date on the target grid.

    A thing at pixel (column, row) of pre is found at (column + dx_px, row + dy_px) of post. Pixels count right and
    down, metres east and north, as on the north-up grids of :func:`codemae_geo.raster.align.target_grid`.

    Args:
        dx_px: pixels along a row.
        dy_px: pixels along a column.
        dx_m: metres east on the ground.
        dy_m: metres north on the ground.
        quality: ``good``, ``weak`` (no clear peak; do not rely on it), ``unknown`` (nothing to compare, all numbers 0).
        peak_ratio: peak of the averaged surface over its highest value elsewhere.
        agreement: share of windows whose own peak is within 2 pixels.
        windows: number of windows compared.
        method: what was done.
    """

    dx_px: float
    dy_px: float
    dx_m: float
    dy_m: float
    quality: Quality
    peak_ratio: float
    agreement: float
    windows: int
    method: str = "masked normalised cross-correlation of gradient magnitudes"

    def describe(self) -> str:
        """One line for the log."""
        if self.quality == "unknown":
            return "offset between the dates: unknown, too little common ground to compare"
        return (
            f"offset between the dates: {self.dx_px:+.1f}, {self.dy_px:+.1f} px ({self.dx_m:+.1f} m east, "
            f"{self.dy_m:+.1f} m north), {self.quality}, {self.windows} window(s); reported only"
        )

    def as_dict(self) -> dict[str, Any]:
        """Fields as JSON takes them."""
        return asdict(self)


def estimate_offset(
    pre: AlignedReader, post: AlignedReader, grid: GeoBox | None = None, *, max_shift: int = 64
) -> OffsetEstimate:
    """Estimate the residual offset of two scenes on one grid; reads up to nine windows of 512 pixels of each.

    Args:
        pre: reader of the date before; only its scene is used, so its place in the file does not move.
        post: reader of the date after.
        grid: where to look; the grid of ``pre`` without one.
        max_shift: largest offset looked for, in pixels; a quarter of the window at most.
    """
    grid = pre.grid if grid is None else grid
    rows, cols = grid.shape.yx
    side = min(WINDOW, rows, cols)
    shift = min(max_shift, side // 4)
    if shift < 2:
        return _unknown()
    surfaces = []
    for row, col in _places(rows, cols, side):
        part = shifted(grid, row, row + side, col, col + side)
        b = _read(post, part)
        if b.valid.mean() < MIN_COVER:
            continue
        a = _read(pre, part)
        if (a.valid & b.valid).mean() < MIN_COVER:
            continue
        surface = correlation_surface(*_edges(a, pre), *_edges(b, post), shift)
        if surface is not None:
            surfaces.append(surface)
        if len(surfaces) == WINDOWS:
            break
    return _judge(surfaces, grid) if surfaces else _unknown()


def _unknown() -> OffsetEstimate:
    return OffsetEstimate(0.0, 0.0, 0.0, 0.0, "unknown", 0.0, 0.0, 0)


def _places(rows: int, cols: int, side: int) -> list[tuple[int, int]]:
    """Top left corners of windows spread over the grid, in an order that spreads the first nine as well."""
    n_rows, n_cols = (min(PLACES_PER_SIDE, max(n // side, 1)) for n in (rows, cols))
    tops = [int(i) for i in np.linspace(0, rows - side, n_rows + 2)[1:-1]] if n_rows > 1 else [(rows - side) // 2]
    lefts = [int(i) for i in np.linspace(0, cols - side, n_cols + 2)[1:-1]] if n_cols > 1 else [(cols - side) // 2]
    places = [(r, c) for r in tops for c in lefts]
    return places[::2] + places[1::2]


def _read(reader: AlignedReader, part: GeoBox) -> Pixels:
    with AlignedReader(reader.scene, part, None, cache_bytes=reader.cache_bytes, threads=reader.threads) as window:
        return window.read_rows(0, part.shape.y)


def _edges(pixels: Pixels, reader: AlignedReader) -> tuple[Array, Mask]:
    """Gradient magnitude of the smoothed, compressed grey image, and where it is known. ``[h, w]``."""
    scene = reader.scene
    grey = pixels.data.astype(np.float32).mean(0)
    if scene.family == "sar":
        amplitude = grey if scene.unit in ("uint8", "complex") else to_amplitude(grey, scene.unit)
        grey = np.log(np.maximum(amplitude, 1e-6) + max(float(np.median(amplitude[pixels.valid])), 1e-6))
    grey = np.where(pixels.valid, grey, grey[pixels.valid].mean())
    for _ in range(2):
        grey = _box3(grey)
    dy, dx = np.gradient(grey)
    inside = _erode(pixels.valid, 4)
    return np.sqrt(np.hypot(dx, dy)), inside  # the root keeps single bright edges from ruling


def _box3(image: Array) -> Array:
    padded = np.pad(image, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) / np.float32(9)


def _erode(mask: Mask, n: int) -> Mask:
    """False within ``n`` pixels of an invalid pixel, where the gradient sees the border of the data."""
    for _ in range(n):
        padded = np.pad(mask, 1, mode="constant", constant_values=False)
        mask = mask & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask


def correlation_surface(a: Array, a_valid: Mask, b: Array, b_valid: Mask, shift: int) -> Array | None:
    """Normalised cross-correlation of two images for all shifts up to ``shift`` pixels.

    Args:
        a: ``[h, w]``.
        a_valid: ``[h, w]``.
        b: ``[h, w]``.
        b_valid: ``[h, w]``.
        shift: largest shift.

    Returns:
        ``[2 shift + 1, 2 shift + 1]``: at ``[shift + dy, shift + dx]`` the correlation of ``a[y, x]`` with
        ``b[y + dy, x + dx]`` over the pixels valid in both, -1..1; None when there are too few or nothing varies.
    """
    if a_valid.sum() < 1024 or b_valid.sum() < 1024:
        return None
    shape = tuple(n + shift for n in a.shape)  # padding by the largest shift keeps the ends from wrapping around

    def spectrum(values: Array) -> Array:
        return np.fft.rfft2(values, shape)

    def correlate(x: Array, y: Array) -> Array:
        full = np.fft.irfft2(np.conj(x) * y, shape)
        index = np.arange(-shift, shift + 1)
        return full[np.ix_(index, index)]

    a = np.where(a_valid, a - a[a_valid].mean(), 0)
    b = np.where(b_valid, b - b[b_valid].mean(), 0)
    fa, fb, ma, mb = spectrum(a), spectrum(b), spectrum(a_valid.astype(float)), spectrum(b_valid.astype(float))
    count = np.maximum(correlate(ma, mb), 1)
    sum_a, sum_b = correlate(fa, mb), correlate(ma, fb)
    var_a = correlate(spectrum(a * a), mb) - sum_a**2 / count
    var_b = correlate(ma, spectrum(b * b)) - sum_b**2 / count
    enough = (count > 0.25 * count.max()) & (var_a > 1e-9 * var_a.max()) & (var_b > 1e-9 * var_b.max())
    if var_a.max() <= 0 or var_b.max() <= 0 or not enough.any():
        return None
    top = correlate(fa, fb) - sum_a * sum_b / count
    return np.divide(top, np.sqrt(np.abs(var_a * var_b)), out=np.zeros_like(top), where=enough)


def _judge(surfaces: list[Array], grid: GeoBox) -> OffsetEstimate:
    mean = np.mean(surfaces, axis=0)
    dy, dx = _peak(mean)
    own = np.array([_peak(s) for s in surfaces])
    agreement = float(np.mean(np.hypot(own[:, 0] - dy, own[:, 1] - dx) <= 2))
    shift = mean.shape[0] // 2
    rows, cols = np.mgrid[-shift : shift + 1, -shift : shift + 1]
    away = mean[np.hypot(rows - dy, cols - dx) > min(PEAK_RADIUS, shift / 2)]
    top = float(mean.max())
    ratio = top / float(away.max()) if away.max() > 0 else float("inf")
    height = (top - float(np.median(away))) / float(away.std() + 1e-12)
    at_edge = max(abs(dy), abs(dx)) > shift - 1
    clear = height >= CLEAR_PEAK and ratio >= CLEAR_RATIO and agreement >= 0.5 and not at_edge
    width_m, height_m = ground_size(grid)
    return OffsetEstimate(
        dx, dy, dx * width_m, -dy * height_m, "good" if clear else "weak", min(ratio, 1e6), agreement, len(surfaces)
    )


def _peak(surface: Array) -> tuple[float, float]:
    """(dy, dx) of the highest point, refined by a parabola along each axis."""
    shift = surface.shape[0] // 2
    row, col = (int(i) for i in np.unravel_index(int(surface.argmax()), surface.shape))
    fine = [float(row - shift), float(col - shift)]
    for axis, (at, line) in enumerate(((row, surface[:, col]), (col, surface[row]))):
        if 0 < at < len(line) - 1:
            before, here, after = line[at - 1 : at + 2]
            bend = before - 2 * here + after
            fine[axis] += float(0.5 * (before - after) / bend) if bend < 0 else 0.0
    return fine[0], fine[1]
