"""The one grid of a run, and the checks that two dates belong together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS
from pyproj.exceptions import CRSError

from codemae_geo.errors import InputError, number, param
from codemae_geo.raster.geo import (
    beside,
    center_lonlat,
    cover,
    crs_name,
    equal_area_crs,
    is_north_up,
    local_scale,
    outline,
    shifted,
    transform_points,
    utm_crs,
)
from codemae_geo.raster.scene import Scene
from codemae_geo.sensors import Array

GridChoice = Literal["pre", "post", "utm"]
Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class Overlap:
    """Where two dates cover the same ground, by the extents of their files.

    Args:
        area_m2: true area (equal-area projection).
        fraction_of_pre: share of the pre scene's extent.
        fraction_of_post: share of the post scene's extent.
        geometry: shapely geometry of the common ground in ``crs``.
        crs: an equal-area system centred on the pre scene.
    """

    area_m2: float
    fraction_of_pre: float
    fraction_of_post: float
    geometry: Any
    crs: str


def same_scene(pre: Scene, post: Scene) -> None:
    """Refuse one file as both dates.

    Raises:
        InputError: a file is named in both scenes.
    """
    before = {_identity(f.path) for f in pre.files}
    for file in post.files:
        if _identity(file.path) in before:
            raise InputError(
                "the same file is given as pre and as post", found=file.name, expected="two dates",
                hint=f"check {param('pre')} and {param('post')}",
            )  # fmt: skip


def _identity(path: str) -> str:
    local = Path(path) if len(path) < 4096 and not path.startswith("<") else None
    return os.path.realpath(local) if local is not None and local.exists() else path


def overlap(pre: Scene, post: Scene) -> Overlap:
    """Common ground of two scenes, in a common equal-area system.

    Raises:
        InputError: there is none; the message names both extents.
    """
    crs = equal_area_crs(*center_lonlat(pre.geobox))
    a, b = pre.footprint(crs), post.footprint(crs)
    common = shapely.intersection(a, b)
    if common.area <= 0:
        raise InputError(
            "the two scenes do not overlap",
            found=f"{pre.role} {_lonlat_extent(pre)}, {post.role} {_lonlat_extent(post)}",
            expected="two scenes of one place",
            hint=f"check the files, and {param('src_crs')} if it was given",
        )
    return Overlap(
        float(common.area), min(1.0, float(common.area / a.area)), min(1.0, float(common.area / b.area)), common, crs
    )


def _lonlat_extent(scene: Scene) -> str:
    west, south, east, north = scene.footprint("EPSG:4326").bounds
    return f"{west:.4f}..{east:.4f} E {south:.4f}..{north:.4f} N"


def target_grid(
    pre: Scene,
    post: Scene | None = None,
    *,
    grid: GridChoice = "pre",
    dst_crs: str | None = None,
    res: float | None = None,
    bounds: Bounds | None = None,
    bounds_crs: str | None = None,
    aoi: tuple[Any, Any] | None = None,
) -> GeoBox:
    """The grid that everything is brought to.

    Without options it is the pre mosaic's own grid in full, affine bit for bit, so pre pixels are not resampled. A
    rotated, skewed or south-up grid gives way to the north-up grid of the same CRS and pixel size, because maps,
    zonal statistics and most viewers want one (south-up pixels are then only flipped, not interpolated). A grid that is
    made new (other CRS, other resolution, UTM, north-up) has its edges on whole multiples of the resolution, so that
    the maps of neighbouring runs fit together.

    Args:
        pre: the scene before.
        post: the scene after; needed for ``grid="post"``.
        grid: whose grid; ``utm`` is the UTM zone in which the middle of the pre scene lies.
        dst_crs: another CRS.
        res: pixel size in units of the target CRS; None keeps the ground size of the source's pixel.
        bounds: (left, bottom, right, top) to crop to, widened to whole pixels.
        bounds_crs: CRS of ``bounds``; the target grid's own without one.
        aoi: (shapely geometry, CRS) to crop to, widened to whole pixels.

    Raises:
        InputError: an unknown CRS, a bad resolution, or a crop outside the grid.
    """
    if grid == "post" and post is None:
        raise ValueError("the post grid needs a post scene")
    scene = post if grid == "post" and post is not None else pre
    own = scene.geobox
    crs = dst_crs if dst_crs is not None else utm_crs(*center_lonlat(own)) if grid == "utm" else None
    if res is not None:
        check_resolution(res, [pre] if post is None else [pre, post], str(own.crs) if crs is None else crs)
    if bounds is not None and (not np.isfinite(bounds).all() or bounds[0] == bounds[2] or bounds[1] == bounds[3]):
        raise InputError(
            f"{param('bounds')} has no area",
            found=" ".join(number(b) for b in bounds),
            expected="LEFT BOTTOM RIGHT TOP, four numbers in the target CRS",
        )
    target = own
    if crs is not None and _crs(crs) != _crs(str(own.crs)):
        target = _new_grid(scene, crs, res)
    elif res is not None or not is_north_up(own):
        target = _new_grid(scene, str(own.crs), res)
    if bounds is not None:
        target = crop(target, shapely.box(*bounds), bounds_crs or target.crs, "bounds")
    if aoi is not None:
        target = crop(target, aoi[0], aoi[1], "aoi")
    return target


#: a target pixel may be this much smaller than the finest pixel of the scenes
MAX_FINER = 100


def check_resolution(res: float, scenes: Sequence[Scene], crs: str) -> None:
    """Refuse a pixel size that can only be meant in another unit (metres for degrees, say).

    Raises:
        InputError: not a positive number, larger than every scene, or far finer than any.
    """
    if not (np.isfinite(res) and res > 0):
        raise InputError(
            "the resolution must be positive",
            found=param("res", res),
            expected=f"for instance {param('res', 0.5)}",
            option="res",
        )
    sizes = [local_scale(s.geobox, str(_crs(crs))) for s in scenes]
    finest = min(sizes) / MAX_FINER
    extent = max(size * max(s.geobox.shape.yx) for size, s in zip(sizes, scenes, strict=True))
    if np.isfinite([finest, extent]).all() and not finest <= res <= extent:
        raise InputError(
            f"the resolution {number(res)} is {'larger than the scenes' if res > extent else 'far finer than theirs'}",
            found=f"pixels of {', '.join(number(s, 3) for s in sizes)} in units of {crs_name(_crs(crs))}",
            expected=f"{number(finest, 3)} to {number(extent, 3)}",
            hint=f"{param('res')} is in units of the target CRS: degrees for EPSG:4326",
            option="res",
        )


def _crs(text: str) -> CRS:
    try:
        crs = CRS.from_user_input(text)
    except CRSError as error:
        raise InputError(
            f"{text} is not a coordinate reference system",
            expected="for instance EPSG:32633",
            hint=f"see {param('dst_crs')}",
            option="dst_crs",
        ) from error
    if not (crs.is_geographic or crs.is_projected):
        raise InputError(
            f"a map cannot be drawn in {text}",
            found=f"{crs.name}, a {crs.type_name}",
            expected="a geographic or projected system, for instance EPSG:32633",
            hint=f"see {param('dst_crs')}",
            option="dst_crs",
        )
    return crs


def _new_grid(scene: Scene, crs: str, res: float | None) -> GeoBox:
    """North-up grid in ``crs`` with edges on multiples of ``res`` that covers the files of a scene."""
    # six digits: 0.6, not 0.6000000007, as a difference of coordinates in the millions has it
    size = res or float(f"{local_scale(scene.files[0].geobox, crs):.6g}")
    boxes = np.array([outline(f.geobox, crs).bounds for f in scene.files])
    boxes = boxes[np.isfinite(boxes).all(1)]
    if not np.isfinite(size) or size <= 0 or len(boxes) == 0:
        raise InputError(
            f"the {scene.role} scene cannot be expressed in {crs}", hint=f"choose another {param('dst_crs')}"
        )
    left, bottom = boxes[:, :2].min(0)
    right, top = boxes[:, 2:].max(0)
    # a grid with its corner at the origin: covering the box on it snaps the edges to multiples of the size
    lattice = GeoBox((1, 1), Affine(size, 0, 0, 0, -size, 0), crs)
    span = cover(lattice, np.array([left, right]), np.array([bottom, top]))
    if span is None:
        raise InputError(
            f"the {scene.role} scene cannot be expressed in {crs}", hint=f"choose another {param('dst_crs')}"
        )
    return shifted(lattice, *span)


def crop(grid: GeoBox, geometry: Any, crs: Any, option: str) -> GeoBox:
    """The part of a grid that covers a geometry, in whole pixels of that grid.

    Raises:
        InputError: the geometry is empty or outside; ``option`` names where it came from.
    """
    dense = shapely.segmentize(geometry, _segment(geometry))
    xy = shapely.get_coordinates(dense)
    x, y = transform_points(xy[:, 0], xy[:, 1], crs, grid.crs)
    x = beside(grid, x)
    span = cover(grid, x, y) if len(xy) else None
    rows, cols = grid.shape.yx
    if span is not None:
        row0, row1, col0, col1 = max(span[0], 0), min(span[1], rows), max(span[2], 0), min(span[3], cols)
        if row0 < row1 and col0 < col1:
            return shifted(grid, row0, row1, col0, col1)
    west, south, east, north = outline(grid).bounds
    raise InputError(
        f"the area of interest ({param(option)}) lies outside the scene",
        found="an empty geometry" if span is None else _extent(x, y),
        expected=f"{number(west)}..{number(east)} x {number(south)}..{number(north)} in {crs_name(grid.crs)}",
        hint=f"check the coordinates and the CRS of {param(option)}",
        option=option,
    )


def _segment(geometry: Any) -> float:
    """Edges are cut into pieces so that straight lines of one CRS may bend in the other."""
    if geometry.is_empty:
        return 1.0
    west, south, east, north = geometry.bounds
    return max(max(east - west, north - south) / 32, 1e-12)


def _extent(x: Array, y: Array) -> str:
    return f"{number(np.min(x))}..{number(np.max(x))} x {number(np.min(y))}..{number(np.max(y))}"
