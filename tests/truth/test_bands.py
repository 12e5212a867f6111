"""Which bands are red, green and blue, and which polarisation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from codemae_geo.errors import InputError
from truth.ruler import marks, measure, write


def test_names_against_default_colours(here: Path, shared: Path) -> None:
    path = shared / "cases/names_bgrn.tif"
    with rasterio.open(path) as ds:
        red = ds.read(3)
    found = measure(here, path, step=2)
    assert found.valid.all()
    np.testing.assert_allclose(found.classes, np.rint(red / 2), atol=1)
    assert "bands 3, 2, 1" in found.warned["bands"]
    assert "nir" in found.warned["alpha"]


@pytest.mark.parametrize("names", [["B02", "B03", "B04", "B08"], ["Blue", "Green", "Red", "Near-infrared"]])
def test_names_of_four_counts(here: Path, names: list[str]) -> None:
    data = marks(bands=4, dtype="uint16")
    found = measure(here, write(here / "a.tif", data, names=names), unit="dn")
    np.testing.assert_array_equal(found.classes, data[2])
    assert "bands" not in found.warned


def test_colours_in_another_order(here: Path) -> None:
    data = marks()
    found = measure(here, write(here / "a.tif", data, colors=["blue", "green", "red"]))
    np.testing.assert_array_equal(found.classes, data[2])


def test_four_unnamed_counts_warn(here: Path) -> None:
    data = marks(bands=4, dtype="uint16")
    found = measure(here, write(here / "a.tif", data), unit="dn")
    np.testing.assert_array_equal(found.classes, data[0])
    assert "blue" in found.warned["bands"]


def test_asked_bands_do_not_warn(here: Path) -> None:
    data = marks(bands=4, dtype="uint16")
    found = measure(here, write(here / "a.tif", data), unit="dn", bands=[3, 2, 1])
    np.testing.assert_array_equal(found.classes, data[2])
    assert not found.warned


def test_twelve_bands_of_sentinel_2(here: Path) -> None:
    data = marks(bands=12, dtype="uint16")
    found = measure(here, write(here / "a.tif", data), unit="dn")
    np.testing.assert_array_equal(found.classes, data[3])


def test_false_colours_are_spoken_of(here: Path) -> None:
    """Infrared, red and green, in a file whose bands are marked red, green and blue."""
    data = marks()
    found = measure(here, write(here / "a.tif", data, names=["nir", "red", "green"], photometric="RGB"))
    np.testing.assert_array_equal(found.classes, data[0])
    assert "nir" in found.warned["bands"]


def test_one_band_is_no_picture(here: Path) -> None:
    with pytest.raises(InputError, match="too few bands"):
        measure(here, write(here / "a.tif", marks(bands=1)))


@pytest.mark.parametrize(
    ("names", "band"), [(["VH", "VV"], 1), (["HV", "HH", "inc"], 1), (["gamma0_vv", "gamma0_vh"], 0)]
)
def test_first_polarisation(here: Path, names: list[str], band: int) -> None:
    data = marks(bands=len(names))
    found = measure(here, write(here / "a.tif", data, names=names, photometric="MINISBLACK"), family="sar")
    np.testing.assert_array_equal(found.classes, data[band])
