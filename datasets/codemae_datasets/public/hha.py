"""HHA, depth as three 8-bit channels: horizontal disparity, height above ground, angle with gravity.

Source: Gupta, Girshick, Arbelaez, Malik, "Learning Rich Features from RGB-D Images for Object Detection and
Segmentation", ECCV 2014, section 2.1; gravity as in Gupta, Arbelaez, Malik, "Perceptual Organization and Recognition of
Indoor Scenes from RGB-D Images", CVPR 2013, section 3. The scaling is that of the authors' released encoder.

Camera frame: x right, y down, z forward, metres. ``gravity`` points down, (0, 1, 0) for a level camera.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from codemae_datasets.public._mat import needed
from codemae_geo.errors import InputError

Array = np.ndarray[Any, Any]

#: angle at which a normal still counts as along or across gravity, degrees, and rounds at that angle
GRAVITY_ROUNDS = ((45.0, 5), (15.0, 5))
#: eigenvalues that differ by less than this share of the normals are taken as equal
EQUAL = 1e-3
#: half widths of the windows for the normals, pixels: fine for the angle, coarse for gravity
FINE, COARSE = 3, 10
#: disparity is DISPARITY / depth, depth in centimetres and at least NEAREST
DISPARITY, NEAREST = 31000.0, 100.0
#: where nothing lies LOWEST_SEEN centimetres below the camera, the ground is taken to lie CAMERA_HEIGHT below it
LOWEST_SEEN, CAMERA_HEIGHT = 90.0, 130.0


def encode_hha(depth: Array, intrinsics: Array, gravity: Array | None = None) -> Array:
    """HHA of a depth image.

    Channels, rounded and cut at 255: 31000 / depth in cm (depth at least 100); height above the lowest point in cm;
    angle between surface normal and gravity in degrees plus 38. Normals point away from the camera, so a floor is 38, a
    wall 128, a ceiling 218. A pixel without depth is 0 in all three.

    Args:
        depth: [H, W] metres; 0 or not finite where there is none.
        intrinsics: [3, 3], focal lengths and principal point in pixels.
        gravity: [3], pointing down in the camera's frame; estimated from the normals if it is not given.

    Returns:
        uint8 [3, H, W].

    Raises:
        InputError: depth or intrinsics have another shape, or no pixel has depth.
    """
    depth = np.asarray(depth, dtype=np.float64)
    intrinsics = np.asarray(intrinsics, dtype=np.float64)
    if depth.ndim != 2 or intrinsics.shape != (3, 3):
        raise InputError(
            "depth and intrinsics do not fit",
            found=f"depth {list(depth.shape)}, intrinsics {list(intrinsics.shape)}",
            expected="depth [H, W] and intrinsics [3, 3]",
        )
    valid = np.isfinite(depth) & (depth > 0)
    if not valid.any():
        raise InputError("the depth image holds no depth", expected="metres, 0 where there is none")
    depth = np.where(valid, depth, 0.0)
    points = point_cloud(depth, intrinsics)
    fine = surface_normals(depth, intrinsics, FINE)
    if gravity is None:
        gravity = estimate_gravity(surface_normals(depth, intrinsics, COARSE)[:, valid])
    down = np.asarray(gravity, dtype=np.float64) / np.linalg.norm(gravity)

    height = -100.0 * np.tensordot(down, points, axes=1)
    lowest = height[valid].min()
    height -= lowest if lowest <= -LOWEST_SEEN else -CAMERA_HEIGHT
    cosine = np.clip(np.tensordot(down, fine, axes=1), -1.0, 1.0)
    # a normal that cannot be fitted counts as against gravity, as in the authors' encoder
    angle = np.where((fine == 0).all(axis=0), 180.0, np.degrees(np.arccos(cosine)))
    disparity = DISPARITY / np.maximum(100.0 * depth, NEAREST)
    channels = np.stack([disparity, height, angle + 128.0 - 90.0])
    return np.where(valid, np.clip(np.rint(channels), 0, 255), 0).astype(np.uint8)


def point_cloud(depth: Array, intrinsics: Array) -> Array:
    """[3, H, W]: x, y, z of each pixel, in the unit of ``depth`` [H, W]. Pixel centres lie at whole numbers."""
    rows, columns = np.indices(depth.shape, dtype=np.float64)
    x = (columns - intrinsics[0, 2]) * depth / intrinsics[0, 0]
    y = (rows - intrinsics[1, 2]) * depth / intrinsics[1, 1]
    return np.stack([x, y, depth])


def surface_normals(depth: Array, intrinsics: Array, radius: int) -> Array:
    """Unit normals that point away from the camera, from planes fitted in windows of 2 * radius + 1 pixels.

    On a plane the inverse depth is linear in the pixel's coordinates, so the fit is two slopes by least squares over
    the pixels of the window that have depth.

    Args:
        depth: [H, W], 0 where there is none.
        intrinsics: [3, 3].
        radius: half width of the window.

    Returns:
        [3, H, W]; 0 where the window does not determine a plane.
    """
    weight = (depth > 0).astype(np.float64)
    inverse = np.divide(1.0, depth, out=np.zeros_like(depth, dtype=np.float64), where=depth > 0)
    rows, columns = np.indices(depth.shape, dtype=np.float64)
    u, v = columns - intrinsics[0, 2], rows - intrinsics[1, 2]

    uniform_filter = needed("scipy.ndimage").uniform_filter

    def mean(values: Array) -> Array:
        return uniform_filter(values * weight, 2 * radius + 1, mode="constant")

    share = mean(np.ones_like(depth, dtype=np.float64))
    safe = np.maximum(share, 1e-12)
    mu, mv, mw = mean(u) / safe, mean(v) / safe, mean(inverse) / safe
    uu, vv, uv = mean(u * u) / safe - mu * mu, mean(v * v) / safe - mv * mv, mean(u * v) / safe - mu * mv
    uw, vw = mean(u * inverse) / safe - mu * mw, mean(v * inverse) / safe - mv * mw
    determinant = uu * vv - uv * uv
    # three pixels in a corner have a determinant of about 0.04
    solvable = (weight > 0) & (determinant > 1e-3)
    scale = np.where(solvable, determinant, 1.0)
    p, q = (uw * vv - vw * uv) / scale, (vw * uu - uw * uv) / scale
    normal = np.stack([p * intrinsics[0, 0], q * intrinsics[1, 1], mw - p * mu - q * mv])
    # the plane is normal . (x, y, z) = 1, so the normal points away from the camera
    length = np.linalg.norm(normal, axis=0)
    return np.where(solvable & (length > 0), normal / np.maximum(length, 1e-12), 0.0)


def estimate_gravity(normals: Array, start: tuple[float, float, float] = (0.0, 1.0, 0.0)) -> Array:
    """Direction of gravity that most surfaces are level or upright to.

    In turns: normals near the present direction count as level ones, normals near the plane across it as upright ones;
    the next direction is the eigenvector of (upright scatter - level scatter) with the smallest eigenvalue.

    Args:
        normals: [3, N], zero columns are left out.
        start: where the search begins.

    Returns:
        [3], of length one, on the side of ``start``.
    """
    normals = normals[:, np.abs(normals).sum(axis=0) > 0]
    gravity = np.asarray(start, dtype=np.float64)
    for degrees, rounds in GRAVITY_ROUNDS:
        near = np.cos(np.radians(degrees))
        across = np.sin(np.radians(degrees))
        for _ in range(rounds):
            cosine = np.abs(gravity @ normals)
            level, upright = normals[:, cosine > near], normals[:, cosine < across]
            values, vectors = np.linalg.eigh(upright @ upright.T - level @ level.T)
            # one bare wall leaves gravity free to turn in it: of the equal directions, the one nearest to the last
            equal = vectors[:, values - values[0] <= EQUAL * max(normals.shape[1], 1)]
            nearest = equal @ (equal.T @ gravity)
            gravity = nearest / np.linalg.norm(nearest) if np.linalg.norm(nearest) > 1e-6 else gravity
    return gravity
