"""Scenes that lie on the ground by control points: how GDAL is to bend them, and how far the points can be believed.

A swath product (Sentinel-1 GRD, many others) has no affine: a grid of points says where some pixels are. GDAL's
transformer goes through all of them (thin-plate spline) or near them (a polynomial of order 1 to 3, least squares).
numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from codemae_geo.errors import InputError
from codemae_geo.sensors import Array

#: thin-plate spline, or a polynomial of this order
GcpMethod = Literal["tps", "1", "2", "3"]
METHODS: tuple[GcpMethod, ...] = get_args(GcpMethod)
#: points that a method needs at least
_NEEDED = {"tps": 3, "1": 3, "2": 6, "3": 10}
#: the spline is checked on this many points at most: the check inverts a matrix of that side
_CHECKED = 1000
#: residual in pixels above which a user should know
WARN_PX = 1.0


@dataclass(frozen=True)
class GcpFit:
    """How well a scene's ground control points are met.

    Args:
        method: see :data:`GcpMethod`.
        count: number of points.
        residual_px: largest distance in pixels between a point and where the method puts it.
        rms_px: root of the mean square of these distances.
        left_out_px: median distance in pixels between a point and where the *other* points put it: what to expect
            between the points. None for polynomials, which have residuals of their own.
    """

    method: GcpMethod
    count: int
    residual_px: float
    rms_px: float
    left_out_px: float | None = None

    @property
    def doubt_px(self) -> float:
        """The figure that decides about a warning."""
        return max(self.residual_px, self.left_out_px or 0.0)

    def describe(self) -> str:
        """For the log."""
        how = "thin-plate spline" if self.method == "tps" else f"polynomial of order {self.method}"
        between = "" if self.left_out_px is None else f", {self.left_out_px:.2g} px where a point is left out (median)"
        return f"{self.count} ground control points, {how}, residual at most {self.residual_px:.2g} px{between}"


def check_method(method: str) -> GcpMethod:
    """The method of a name.

    Raises:
        InputError: there is none of this name.
    """
    if method not in METHODS:
        raise InputError(
            f"unknown method {method!r} for ground control points", found=str(method), expected=", ".join(METHODS)
        )
    return method


def warp_options(method: GcpMethod) -> dict[str, Any]:
    """Options of GDAL's transformer for a method."""
    if method == "tps":
        return {"METHOD": "GCP_TPS"}
    return {"METHOD": "GCP_POLYNOMIAL", "MAX_GCP_ORDER": method}


def check_points(gcps: Sequence[Any], method: GcpMethod, name: str) -> tuple[Array, Array]:
    """Ground control points (rasterio's) as arrays ``[n, 2]``: (column, row) and (x, y), each pixel once.

    Raises:
        InputError: too few points, points on one line, or coordinates that are not numbers.
    """
    pixel = np.array([[p.col, p.row] for p in gcps], float)
    ground = np.array([[p.x, p.y] for p in gcps], float)
    if not (np.isfinite(pixel).all() and np.isfinite(ground).all()):
        raise InputError(f"{name} has ground control points that are not numbers", found="NaN or infinite coordinates")
    if np.ptp(ground[:, 0]) > 180 and np.abs(ground[:, 0]).max() <= 180:  # over the date line 179 is beside -179
        ground[:, 0] = np.where(ground[:, 0] < 0, ground[:, 0] + 360, ground[:, 0])
    _, first = np.unique(pixel, axis=0, return_index=True)
    pixel, ground = pixel[np.sort(first)], ground[np.sort(first)]
    if len(pixel) < _NEEDED[method]:
        raise InputError(
            f"{name} has too few ground control points", found=f"{len(pixel)} at different pixels",
            expected=f"{_NEEDED[method]} for the method {method}",
            hint="choose a polynomial of a lower order" if method in "23" else "georeference it first",
        )  # fmt: skip
    flat = min(np.linalg.svd(_normalised(each), compute_uv=False)[-1] for each in (ground, pixel))
    if flat < 1e-6:
        raise InputError(
            f"the ground control points of {name} lie on one line",
            found=f"{len(pixel)} points",
            expected="points that span an area",
        )
    return pixel, ground


def fit_points(gcps: Sequence[Any], method: GcpMethod, name: str) -> GcpFit:
    """Measure how well a method meets ground control points.

    Raises:
        InputError: see :func:`check_points`.
    """
    pixel, ground = check_points(gcps, method, name)
    if method == "tps":
        left_out = _left_out(_normalised(ground), pixel)
        return GcpFit("tps", len(gcps), 0.0, 0.0, float(np.median(left_out)) if len(left_out) else None)
    terms = _terms(_normalised(ground), int(method))
    found, *_ = np.linalg.lstsq(terms, pixel, rcond=None)
    off = np.hypot(*(terms @ found - pixel).T)
    return GcpFit(method, len(gcps), float(off.max()), float(np.sqrt(np.mean(off**2))))


def _normalised(points: Array) -> Array:
    """Points about their mean, the wider axis of unit size."""
    centred = points - points.mean(0)
    return np.asarray(centred / max(np.abs(centred).max(), 1e-300))


def _terms(xy: Array, order: int) -> Array:
    """Products of the powers of x and y up to an order, ``[n, terms]``."""
    x, y = xy.T
    return np.stack([x**i * y**j for i in range(order + 1) for j in range(order + 1 - i)], 1)


def _left_out(ground: Array, pixel: Array) -> Array:
    """Distances in pixels between each point and the spline through all others.

    In closed form, for all points at once: the error at a left-out point is its coefficient over its entry on the
    diagonal of the inverse (Rippa 1999, "An algorithm for selecting a good value for the parameter c in radial basis
    function interpolation", equation 17).
    """
    if len(ground) > _CHECKED:
        some = np.linspace(0, len(ground) - 1, _CHECKED).astype(int)
        ground, pixel = ground[some], pixel[some]
    n = len(ground)
    if n < 5:  # three others are an affine, which says nothing about a curve
        return np.empty(0)
    square = ((ground[:, None] - ground[None]) ** 2).sum(-1)
    kernel = np.where(square > 0, square * np.log(np.where(square > 0, square, 1)), 0)
    plane = np.column_stack([np.ones(n), ground])
    system = np.block([[kernel, plane], [plane.T, np.zeros((3, 3))]])
    try:
        inverse = np.linalg.inv(system)
    except np.linalg.LinAlgError:
        return np.empty(0)
    coefficients = inverse[:n, :n] @ pixel
    return np.asarray(np.hypot(*(coefficients / np.diag(inverse)[:n, None]).T))
