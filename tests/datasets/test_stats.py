"""Statistics of collections: equal to numpy over the whole, whatever the parts."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import rasterio
from codemae_datasets.collection import stats
from codemae_datasets.collection.stats import LowerCounts, Totals, measure_rasters
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from rasterio.transform import from_origin

from codemae_geo.errors import InputError

QUANTILES = (0.0, 0.02, 0.37, 0.5, 0.98, 1.0)
DTYPES = ("uint8", "int8", "uint16", "int16", "int32", "float32", "float64")


def write(path: Path, data: np.ndarray, **profile: object) -> Path:
    with rasterio.open(
        path, "w", driver="GTiff", count=len(data), height=data.shape[1], width=data.shape[2], dtype=data.dtype,
        crs="EPSG:32633", transform=from_origin(5e5, 5e6, 10, 10), **profile,
    ) as file:  # fmt: skip
        file.write(data)
    return path


def check(found: list, pixels: np.ndarray) -> None:
    """Against numpy in float64 over pixels [bands, N]."""
    whole = pixels.astype(np.float64)
    scale = max(np.abs(whole).max(), 1e-30)
    for band, values in zip(found, whole, strict=True):
        assert band.count == values.size
        assert band.mean == pytest.approx(values.mean(), rel=1e-6, abs=1e-6 * scale)
        assert band.std == pytest.approx(values.std(), rel=1e-6, abs=1e-6 * scale)
        assert (band.min, band.max) == (values.min(), values.max())
        for q, value in band.quantiles.items():
            assert value == pytest.approx(np.quantile(values, q), rel=1e-6, abs=1e-6 * scale)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_parts_add_up_to_the_whole(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    width = 64 if dtype == "float64" else 32
    elements = st.floats(-(2.0**90), 2.0**90, width=width, allow_subnormal=False) if dtype.startswith("float") else None
    whole = data.draw(
        hnp.arrays(dtype, st.tuples(st.just(2), st.integers(1, 12), st.integers(1, 6)), elements=elements)
    )
    valid = data.draw(hnp.arrays(bool, whole.shape[1:]))
    rows = whole.shape[1]
    cuts = sorted({0, rows, *data.draw(st.lists(st.integers(0, rows), max_size=4))})
    parts = [(whole[:, a:b], valid[a:b]) for a, b in pairwise(cuts)]

    def over(make):
        counters = []
        for values, ok in parts:
            counter = make()
            counter.add(values, ok)
            counters.append(counter)
        return reduce(lambda a, b: a + b, counters)

    totals = over(lambda: Totals(2, dtype))
    wanted = totals.wanted(QUANTILES)
    found = totals.summary(QUANTILES, over(lambda: LowerCounts(wanted, dtype)) if wanted else None, ("a", "b"))
    assert found[0].invalid == (~valid).sum()
    if valid.any():
        check(found, whole[:, valid])
    else:
        assert found[0].count == 0 and np.isnan(found[0].mean)


def test_a_large_offset_does_not_drown_the_deviation() -> None:
    pixels = np.random.default_rng(0).normal(1e7, 1.0, (1, 50, 400))
    totals = reduce(lambda a, b: a + b, [_of(part) for part in np.split(pixels, 10, axis=1)])
    assert totals.moments(0) == pytest.approx((pixels.mean(), pixels.std()), rel=1e-12)


def _of(part: np.ndarray) -> Totals:
    totals = Totals(1, part.dtype)
    totals.add(part)
    return totals


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_files_with_nodata(tmp_path: Path, dtype: str, workers: int) -> None:
    random = np.random.default_rng(1)
    nodata = {"uint8": 7, "int16": -9999, "float32": -3.4e38}[dtype]
    kept = []
    for i in range(5):
        data = (random.normal(90, 25, (2, 37, 50 + i))).clip(10, 250).astype(dtype)
        hole = random.random(data.shape[1:]) < 0.2
        data[:, hole] = nodata
        if dtype == "float32":
            data[0, 0, :3] = np.nan
            hole[0, :3] = True
        write(tmp_path / f"{i}.tif", data, nodata=nodata)
        kept.append(data[:, ~hole])
    found = measure_rasters([tmp_path], QUANTILES, workers=workers)
    check(found, np.concatenate(kept, axis=1))
    assert found[0].invalid > 0


def test_alpha_masks_and_palettes(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    rgba = random.integers(0, 256, (40, 30, 4), dtype=np.uint8)
    rgba[..., 3] = np.where(rgba[..., 3] < 100, 0, 255)
    Image.fromarray(rgba, "RGBA").save(tmp_path / "a.png")
    check(measure_rasters([tmp_path / "a.png"]), rgba[rgba[..., 3] > 0, :3].T)
    palette = Image.fromarray(rgba[..., :3], "RGB").quantize(16)
    palette.save(tmp_path / "p.png")
    check(measure_rasters([tmp_path / "p.png"]), np.asarray(palette.convert("RGB")).reshape(-1, 3).T)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        data = random.integers(0, 256, (1, 20, 20), dtype=np.uint8)
        write(tmp_path / "m.tif", data)
        mask = random.random((20, 20)) < 0.5
        with rasterio.open(tmp_path / "m.tif", "r+") as file:
            file.write_mask(mask)
    check(measure_rasters([tmp_path / "m.tif"]), data[:, mask])
    check(measure_rasters([tmp_path / "m.tif"], nodata=-1), data.reshape(1, -1))


def test_complex_values_are_measured_by_amplitude(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    data = (random.normal(size=(1, 30, 30)) + 1j * random.normal(size=(1, 30, 30))).astype(np.complex64)
    check(measure_rasters([write(tmp_path / "slc.tif", data)], QUANTILES), np.abs(data).reshape(1, -1))


def test_what_cannot_be_measured_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.tif", np.ones((1, 8, 8), np.uint8))
    write(tmp_path / "b.tif", np.ones((3, 8, 8), np.uint8))
    with pytest.raises(InputError, match="differ in kind") as differ:
        measure_rasters([tmp_path])
    assert "b.tif: 3 band(s) of uint8" in str(differ.value)
    (tmp_path / "c.png").write_bytes(b"\x89PNG broken")
    with pytest.raises(InputError, match=r"c\.png cannot be read"):
        measure_rasters([tmp_path / "c.png"])
    whole = write(tmp_path / "d.tif", np.random.default_rng(0).integers(0, 255, (1, 64, 64), dtype=np.uint8))
    whole.write_bytes(whole.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"d\.tif cannot be read"):
        measure_rasters([whole])
    with pytest.raises(InputError, match="nowhere is not there"):
        measure_rasters(["nowhere"])
    with pytest.raises(InputError, match="2 is not a quantile"):
        measure_rasters([tmp_path / "a.tif"], [0.5, 2])


def test_real_scenes_with_and_without_data(shared: Path) -> None:
    folder = shared / "data/spacenet6_rotterdam"
    for name in ("sar_masked.tif", "rgb_unmasked.tif"):
        with rasterio.open(folder / name) as file:
            pixels = file.read()
        valid = np.isfinite(pixels).all(0)
        check(measure_rasters([folder / name], QUANTILES), pixels[:, valid])


def test_strips_are_bounded_by_the_values_of_all_bands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).integers(0, 255, (3, 200, 60), dtype=np.uint8)
    header = stats._header(str(write(tmp_path / "a.tif", data, blockysize=4)), None)
    monkeypatch.setattr(stats, "STRIP_VALUES", 60 * 3 * 20)
    strips = [values for values, _ in stats.blocks(header)]
    assert max(values.size for values in strips) == stats.STRIP_VALUES
    assert np.array_equal(np.concatenate(strips, axis=1), data)
