"""Pixels without a measurement that no header declares: a border of zeros, -9999 among decibels, the largest float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from codemae_geo.raster.source import OpenSource, SourceFile, Window, patch_windows, read_window
from codemae_geo.sensors import Array

#: numbers that programs write where there is no measurement
_USUAL = (-9999.0, -99999.0, -999.0, -32768.0, -32767.0, 1e20, 9.969209968386869e36)
#: a value this many spreads of all others away from them is isolated; a usual one, half a spread away
_ISOLATED, _ISOLATED_USUAL = 5.0, 0.5
#: fewer different values beside it are a drawing, in which no value is extreme
_VARIED = 16
#: share of the pixels of a value that are surrounded by that value, where it fills areas and is not scattered
_SOLID = 0.8
#: share of the pixels on the scene's edge that hold a value which fills from the border
_AT_BORDER = 0.02
#: side of the patches that are looked at, and their number inside
_PATCH, _PATCHES = 64, 16


def without_fill(files: Sequence[SourceFile]) -> tuple[SourceFile, ...]:
    """Headers in which undeclared fill is nodata, with a warning.

    Files that declare what makes a pixel invalid, and 8-bit files (where black and white are measurements), stay as
    they are.
    """
    some = [f for f in files if _silent(f)]
    if not some:
        return tuple(files)
    found = _find([some[int(i)] for i in np.linspace(0, len(some) - 1, min(len(some), _PATCHES))])
    if found is None:
        return tuple(files)
    value, text = found
    return tuple(
        replace(f, nodata=value, mask=("nodata", *f.mask), warnings=(*f.warnings, ("nodata", text)))
        if _silent(f)
        else f
        for f in files
    )


def _silent(file: SourceFile) -> bool:
    return set(file.mask) <= {"nan"} and file.stored_type.kind in "iuf" and file.stored_type.itemsize > 1


def _find(files: Sequence[SourceFile]) -> tuple[float, str] | None:
    """A value that fills, and what to say of it."""
    patches: list[Array] = []
    edges: list[Array] = []  # [C, n] of the scene's outermost pixels
    for file in files:
        rows, cols = file.shape
        with OpenSource(file.path, file.name, src_crs=file.src_crs, gcps=file.gcp_method) as source:
            for window in _windows(rows, cols, max(_PATCHES // len(files), 1)):
                values, _ = read_window(source.dataset, file, window, stored=True)
                patches.append(values)
                r0, r1, c0, c1 = window
                sides = [(r0 == 0, values[:, 0]), (r1 == rows, values[:, -1])]
                sides += [(c0 == 0, values[:, :, 0]), (c1 == cols, values[:, :, -1])]
                edges += [side for touches, side in sides if touches]
    pooled = np.concatenate([p.reshape(len(p), -1) for p in patches], 1)
    finite = np.isfinite(pooled).all(0)
    pooled, border = pooled[:, finite], np.concatenate(edges, 1)
    if pooled.size == 0:
        return None
    for value in dict.fromkeys([pooled.min().item(), pooled.max().item(), 0]):
        hit = (pooled == value).all(0)
        if hit.sum() < 16 or hit.all():
            continue
        share, why = float(hit.mean()), ""
        if _isolated(value, pooled[:, ~hit]):
            why = "far from all others"
        elif (border == value).all(0).mean() >= _AT_BORDER and _solid(patches, value) >= _SOLID:
            why = "in areas that reach the scene's border"
        if why:
            return value, (
                f"{share:.1%} of the sampled pixels are exactly {value:g}, {why}, and no header declares it as nodata:"
                " they are left out; to keep them, name another value as nodata"
            )
    return None


def _windows(rows: int, cols: int, count: int) -> list[Window]:
    """Patches inside, and at the corners and the middles of the sides."""
    inside = patch_windows(rows, cols, count, _PATCH)
    tops = sorted({0, max((rows - _PATCH) // 2, 0), max(rows - _PATCH, 0)})
    lefts = sorted({0, max((cols - _PATCH) // 2, 0), max(cols - _PATCH, 0)})
    around = [
        (r, min(r + _PATCH, rows), c, min(c + _PATCH, cols))
        for r in tops
        for c in lefts
        if r in (tops[0], tops[-1]) or c in (lefts[0], lefts[-1])
    ]
    return list(dict.fromkeys([*inside, *around]))


def _isolated(value: float, others: Array) -> bool:
    # other fill values, as the largest beside the smallest float, must not widen the spread
    if len(np.unique(others)) < _VARIED:
        return False
    low, high = (float(v) for v in np.quantile(others.astype(np.float64), (0.001, 0.999)))
    gap = low - value if value < low else value - high
    if abs(value) >= 1e30:
        return bool(gap > 0)
    usual = any(abs(value - u) <= 1e-6 * abs(u) for u in _USUAL)
    return bool(gap > (_ISOLATED_USUAL if usual else _ISOLATED) * max(high - low, 1e-12))


def _solid(patches: Sequence[Array], value: float) -> float:
    """Share of the pixels of a value whose four neighbours hold it too."""
    inside = total = 0
    for patch in patches:
        hit = (patch == value).all(0)
        wide = np.pad(hit, 1, mode="edge")
        around = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
        inside, total = inside + int((hit & around).sum()), total + int(hit.sum())
    return inside / max(total, 1)
