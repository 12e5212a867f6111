"""Where pixels lie: systems, degenerate georeferences, warps, datums."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS, Transformer

from codemae_geo.errors import InputError
from truth.ruler import PLACE, UTM, Map, marks, measure, write

MOON = (
    'GEOGCS["Moon 2000",DATUM["D_Moon_2000",SPHEROID["Moon_2000_IAU_IAG",1737400,0]],PRIMEM["Reference_Meridian",0],'
    'UNIT["Degree",0.0174532925199433]]'
)
MARS = (
    'PROJCS["Mars",GEOGCS["Mars 2000",DATUM["D_Mars_2000",SPHEROID["Mars_2000",3396190,169.8944472]],'
    'PRIMEM["Reference_Meridian",0],UNIT["Degree",0.0174532925199433]],PROJECTION["Equirectangular"],'
    'PARAMETER["central_meridian",0],UNIT["metre",1]]'
)
DEGREES = Affine(1e-4, 0, 15.0, 0, -1e-4, 45.0)


# ---------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("name", "transform"),
    [
        ("zero", Affine(0, 0, 5e5, 0, 0, 5e6)),
        ("flat", Affine(10, 0, 5e5, 0, 0, 5e6)),
        ("nan", Affine(np.nan, 0, 5e5, 0, -10, 5e6)),
        ("infinite", Affine(10, 0, np.inf, 0, -10, 5e6)),
        ("singular", Affine(10, 20, 5e5, 5, 10, 5e6)),
        ("huge", Affine(1e300, 0, 5e5, 0, -1e300, 5e6)),
        ("far", Affine(10, 0, 1e300, 0, -10, 5e6)),
    ],
)
def test_degenerate_geotransforms(here: Path, name: str, transform: Affine) -> None:
    with pytest.raises(InputError, match="geotransform"):
        measure(here, write(here / f"{name}.tif", marks(), transform=transform))


@pytest.mark.parametrize(
    ("what", "transform"),
    [
        ("metres", PLACE),
        ("beyond the pole", Affine(0.1, 0, 10, 0, -0.1, 92)),
        ("below the pole", Affine(0.1, 0, 10, 0, -0.1, -88)),
        ("twice around", Affine(20, 0, -180, 0, -0.1, 50)),
        ("swapped metres", Affine(10, 0, 5_000_000, 0, -10, 500_000)),
    ],
)
def test_degrees_that_there_are_not(here: Path, what: str, transform: Affine) -> None:
    with pytest.raises(InputError, match=r"outside the Earth|beyond a pole"):
        measure(here, write(here / "a.tif", marks(), transform=transform, crs="EPSG:4326"))


def test_metres_that_a_projection_does_not_have(here: Path) -> None:
    with pytest.raises(InputError, match="outside"):
        measure(here, write(here / "a.tif", marks(), transform=Affine(10, 0, 9e7, 0, -10, 9e7)))


@pytest.mark.parametrize("crs", [MOON, MARS])
def test_other_bodies(here: Path, crs: str) -> None:
    with pytest.raises(InputError, match="not a scene of the Earth"):
        measure(here, write(here / "a.tif", marks(), crs=crs, transform=DEGREES if crs == MOON else PLACE))


def test_local_system(here: Path) -> None:
    with pytest.raises(InputError, match="no coordinate reference system"):
        measure(here, write(here / "a.tif", marks(), crs='LOCAL_CS["site",UNIT["metre",1]]'))


def test_no_system(here: Path) -> None:
    with pytest.raises(InputError, match="no coordinate reference system"):
        measure(here, write(here / "a.tif", marks(), crs=None))


def test_no_georeference(here: Path) -> None:
    with pytest.raises(InputError, match="not georeferenced"):
        measure(here, write(here / "a.tif", marks(), crs=None, transform=None))


# ---------------------------------------------------------------------------------------------------- taken


def taken(found: Map, data: np.ndarray, transform: Affine) -> None:
    np.testing.assert_array_equal(found.classes, data[0])
    assert found.transform.almost_equals(transform, precision=1e-9)


@pytest.mark.parametrize(
    "crs",
    [
        "EPSG:32633",
        "EPSG:25833+5773",
        "EPSG:32633+3855",
        "EPSG:3857",
        "EPSG:3035",
        "ESRI:102013",
        "+proj=utm +zone=33 +ellps=GRS80 +units=m +no_defs",
        "+proj=utm +zone=33 +ellps=intl +towgs84=-87,-98,-121,0,0,0,0 +units=m +no_defs",
    ],
)
def test_projected_and_compound_systems(here: Path, crs: str) -> None:
    data = marks()
    transform = PLACE if "3035" not in crs else Affine(10, 0, 4_600_000, 0, -10, 2_500_000)
    found = measure(here, write(here / "a.tif", data, crs=crs, transform=transform))
    taken(found, data, transform)
    assert len(CRS.from_user_input(found.crs.to_wkt()).axis_info) == 2


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:4979", "EPSG:4258", "EPSG:4267", "EPSG:4277"])
def test_degrees(here: Path, crs: str) -> None:
    data = marks()
    transform = DEGREES if crs not in ("EPSG:4267", "EPSG:4277") else Affine(1e-4, 0, -2.0, 0, -1e-4, 52.0)
    taken(measure(here, write(here / "a.tif", data, crs=crs, transform=transform)), data, transform)


def test_feet(here: Path) -> None:
    data, transform = marks(), Affine(3, 0, 2_800_000, 0, -3, 340_000)
    found = measure(here, write(here / "a.tif", data, crs="EPSG:2278", transform=transform))
    taken(found, data, transform)


def test_south_up(here: Path) -> None:
    data = marks()
    found = measure(here, write(here / "a.tif", data, transform=Affine(10, 0, 5e5, 0, 10, 5e6)))
    np.testing.assert_array_equal(found.classes, data[0, ::-1])


def test_world_mosaic_half_a_pixel_over_the_pole(here: Path) -> None:
    data = marks((37, 72), top=70)
    found = measure(here, write(here / "a.tif", data, crs="EPSG:4326", transform=Affine(5, 0, -180, 0, -5, 92.5)))
    np.testing.assert_array_equal(found.classes, data[0])


# ---------------------------------------------------------------------------------------------------- warped


def ramp(shape: tuple[int, int], transform: Affine, crs: str, along: str) -> tuple[np.ndarray, str, float]:
    """A picture whose value is linear in one coordinate of its own system, so that interpolating it is exact: one mark
    a pixel."""
    rows, cols = np.indices(shape)
    value = (cols if along == "x" else rows) + 1
    return np.repeat(value[None], 3, 0).astype("u1"), along, 1.0


def expected(found: Map, crs: str, transform: Affine, along: str) -> np.ndarray:
    """The value at the centres of the map's pixels, by pyproj and the affine alone."""
    x, y = found.centres()
    if CRS.from_user_input(crs) != CRS.from_user_input(found.crs.to_wkt()):
        x, y = Transformer.from_crs(found.crs.to_wkt(), crs, always_xy=True).transform(x, y)
    inverse = ~transform
    col, row = inverse.a * x + inverse.b * y + inverse.c, inverse.d * x + inverse.e * y + inverse.f
    return (col if along == "x" else row) + 0.5


def check(found: Map, want: np.ndarray, share: float = 0.3) -> None:
    inner = found.valid & (want > 2) & (want < 58)
    assert inner.mean() > share
    # 0.03 of a pixel: GDAL's transformer is exact to a hundredth here, and the rest is rounding to a mark
    assert np.abs(found.classes[inner] - want[inner]).max() < 0.53


@pytest.mark.parametrize("along", ["x", "y"])
@pytest.mark.parametrize(
    ("crs", "transform", "dst"),
    [
        (UTM, PLACE, "EPSG:4326"),
        (UTM, PLACE, "EPSG:3857"),
        (UTM, PLACE, "EPSG:3035"),
        ("EPSG:4326", DEGREES, "EPSG:32633"),
        ("EPSG:4326", Affine(1e-4, 0, 179.998, 0, -1e-4, -17.0), "EPSG:32701"),
        ("EPSG:3413", Affine(20, 0, -500, 0, -20, 500), "EPSG:3995"),
        ("EPSG:32633", Affine(8, 6, 5e5, 6, -8, 5e6), None),
        ("EPSG:32633", Affine(10, 2, 5e5, 0, -10, 5e6), None),
    ],
)
def test_positions_after_a_warp(here: Path, crs: str, transform: Affine, dst: str | None, along: str) -> None:
    data, *_ = ramp((60, 60), transform, crs, along)
    found = measure(here, write(here / "a.tif", data, crs=crs, transform=transform), dst_crs=dst)
    if crs == "EPSG:4326" and transform.c > 179:  # the other side of the date line comes back as -179
        x, y = found.centres()
        lon, lat = Transformer.from_crs(found.crs.to_wkt(), crs, always_xy=True).transform(x, y)
        lon = np.where(lon < 0, lon + 360, lon)
        want = ((lon - transform.c) / transform.a if along == "x" else (lat - transform.f) / transform.e) + 0.5
    else:
        want = expected(found, crs, transform, along)
    check(found, want)


@pytest.mark.parametrize("along", ["x", "y"])
def test_positions_at_half_the_resolution(here: Path, along: str) -> None:
    data, *_ = ramp((60, 60), PLACE, UTM, along)
    found = measure(here, write(here / "a.tif", data), res=20)
    pairs = data[0].reshape(30, 2, 30, 2).mean((1, 3))
    np.testing.assert_allclose(found.classes, pairs, atol=0.5)


@pytest.mark.parametrize("along", ["x", "y"])
def test_positions_at_twice_the_resolution(here: Path, along: str) -> None:
    data, *_ = ramp((60, 60), PLACE, UTM, along)
    found = measure(here, write(here / "a.tif", data), res=5)
    check(found, expected(found, UTM, PLACE, along))


# ---------------------------------------------------------------------------------------------------- datums


def test_a_missing_datum_grid_is_named(here: Path) -> None:
    """NAD27 to WGS 84 without its grid is a guess of tens of metres."""
    data, transform = marks(), Affine(1e-5, 0, -94.5, 0, -1e-5, 37.0)
    found = measure(here, write(here / "a.tif", data, crs="EPSG:4267", transform=transform), dst_crs="EPSG:32615")
    assert "conus" in found.warned["datum"]
    assert " m" in found.warned["datum"]


def test_a_shift_within_the_accuracy_is_not_warned_of(here: Path) -> None:
    found = measure(here, write(here / "a.tif", marks()), dst_crs="EPSG:4326")
    assert "datum" not in found.warned
