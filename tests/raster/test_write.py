"""Rasters are complete or absent, exactly placed, and styled."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.enums import ColorInterp

from codemae_geo.classes import DAMAGE_CLASSES, NODATA
from codemae_geo.errors import OutputError
from codemae_geo.outputs import check_space, write_text
from codemae_geo.raster.write import RasterWriter, encode_probability, estimate_bytes

UTM = Affine(0.6, 0, 365000.1, 0, -0.674, 4100000.3)


def _grid(height: int, width: int, affine: Affine = UTM, crs: str = "EPSG:26915") -> GeoBox:
    return GeoBox((height, width), affine, crs)


def _classes(height: int, width: int) -> NDArray[np.uint8]:
    """Noisy classes with nodata, so that an average would make values that mean something else."""
    values = np.random.default_rng(3).choice([0, 1, 2, 3, NODATA], (height, width))
    return values.astype(np.uint8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(height=st.integers(1, 150), width=st.integers(1, 90), chunks=st.lists(st.integers(1, 70), max_size=8))
def test_any_chunks_give_the_array(tmp_path: Path, height: int, width: int, chunks: list[int]) -> None:
    values = _classes(height, width)
    path = tmp_path / "c.tif"
    with RasterWriter.classes(path, _grid(height, width), DAMAGE_CLASSES, block=32, overwrite=True) as writer:
        row = 0
        for rows in [*chunks, height]:
            part = values[row : row + rows]
            writer.write_rows(row, part)
            row += len(part)
    with rasterio.open(path) as written:
        np.testing.assert_array_equal(written.read(1), values)


@pytest.mark.parametrize(
    ("affine", "crs"),
    [
        (UTM, "EPSG:26915"),
        (Affine(6e-6, 0, -94.123456789012, 0, -6e-6, 37.012345678901), "EPSG:4326"),
        (Affine(0.58, -0.16, 365000.1, -0.14, -0.65, 4100000.3), "EPSG:32631"),
        (Affine(10, 0, -13170000, 0, -10, 4020000), "EPSG:3395"),
    ],
)
def test_grid_is_exact(tmp_path: Path, affine: Affine, crs: str) -> None:
    grid = _grid(70, 90, affine, crs)
    with RasterWriter.classes(tmp_path / "c.tif", grid, DAMAGE_CLASSES, block=32) as writer:
        writer.write_rows(0, _classes(70, 90))
    with rasterio.open(tmp_path / "c.tif") as written:
        assert written.shape == (70, 90)
        assert written.crs == rasterio.CRS.from_user_input(crs)
        assert written.transform == affine


def test_class_raster_is_a_styled_cog(tmp_path: Path) -> None:
    values = _classes(1300, 1100)
    tags = {"software": "codemae-geo 0", "model": "tiny", "inputs": '["pre.tif", "post.tif"]'}
    with RasterWriter.classes(tmp_path / "c.tif", _grid(1300, 1100), DAMAGE_CLASSES, "damage", tags=tags) as writer:
        writer.write_rows(0, values)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.qmd", "c.qml", "c.tif", "c.tif.aux.xml"]
    with rasterio.open(tmp_path / "c.tif") as written:
        assert written.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert written.profile["compress"] == "deflate"
        assert written.block_shapes == [(512, 512)]
        assert written.nodata == NODATA
        assert written.descriptions == ("damage",)
        assert tags.items() <= written.tags().items()
        assert {c.value: written.colormap(1)[c.value][:3] for c in DAMAGE_CLASSES} == {
            c.value: c.rgb for c in DAMAGE_CLASSES
        }
        levels = len(written.overviews(1))
    assert levels == 2
    for level in range(levels):
        with rasterio.open(tmp_path / "c.tif", overview_level=level) as overview:
            assert set(np.unique(overview.read(1))) <= {0, 1, 2, 3, NODATA}


def test_overviews_take_the_most_frequent_class(tmp_path: Path) -> None:
    block = np.array([[1, 1], [1, 3]], np.uint8)
    values = np.tile(block, (300, 300))
    with RasterWriter.classes(tmp_path / "c.tif", _grid(600, 600), DAMAGE_CLASSES) as writer:
        writer.write_rows(0, values)
    with rasterio.open(tmp_path / "c.tif", overview_level=0) as overview:
        assert (overview.read(1) == 1).all()


def test_probabilities_carry_names_scale_and_averaged_overviews(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    probability = rng.random((4, 600, 600))
    valid = np.ones((600, 600), bool)
    valid[:100] = False
    raw = encode_probability(probability, valid)
    assert raw[:, valid].max() <= 250
    with RasterWriter.probability(tmp_path / "p.tif", _grid(600, 600), DAMAGE_CLASSES.names) as writer:
        writer.write_rows(0, raw[:, :333])
        writer.write_rows(333, raw[:, 333:])
    with rasterio.open(tmp_path / "p.tif") as written:
        assert list(written.descriptions) == DAMAGE_CLASSES.names
        assert written.scales == (1 / 250,) * 4
        assert ColorInterp.alpha not in written.colorinterp
        np.testing.assert_allclose((written.read() * written.scales[0])[:, valid], probability[:, valid], atol=0.002001)
        assert (written.read()[:, ~valid] == NODATA).all()
    with rasterio.open(tmp_path / "p.tif", overview_level=0) as overview:
        expected = raw[:, 100:].reshape(4, 250, 2, 300, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(overview.read()[:, 50:], expected, atol=0.5001)
        assert (overview.read()[:, :50] == NODATA).all()


def test_encode_probability_treats_nan_and_out_of_range() -> None:
    raw = encode_probability(np.array([0.0, 1.0, 0.5, -0.1, 1.7, np.nan]), np.array([1, 1, 1, 1, 1, 0], bool))
    np.testing.assert_array_equal(raw, [0, 250, 125, 0, 250, 255])


def test_float_raster(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(2, 40, 50)).astype(np.float32)
    with RasterWriter.features(tmp_path / "f.tif", _grid(40, 50), ["a", "b"]) as writer:
        writer.write_rows(0, values)
    with rasterio.open(tmp_path / "f.tif") as written:
        np.testing.assert_array_equal(written.read(), values)
        assert written.scales == (1.0, 1.0)
    assert [p.name for p in tmp_path.iterdir()] == ["f.tif"]


def test_existing_file_needs_overwrite_and_stale_sidecars_go(tmp_path: Path) -> None:
    path = tmp_path / "c.tif"
    for kwargs in ({}, {"overwrite": True}):
        with RasterWriter.classes(path, _grid(20, 20), DAMAGE_CLASSES, **kwargs) as writer:
            writer.write_rows(0, _classes(20, 20))
    with pytest.raises(OutputError, match="overwrite"):
        RasterWriter.classes(path, _grid(20, 20), None)
    (tmp_path / "c.qmd").write_text("metadata of the old raster")
    with RasterWriter.classes(path, _grid(20, 20), None, overwrite=True) as writer:
        writer.write_rows(0, _classes(20, 20))
    assert [p.name for p in tmp_path.iterdir()] == ["c.tif"]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="folder"):
        RasterWriter.classes(tmp_path / "no" / "c.tif", _grid(20, 20), None)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_interrupted_write_leaves_nothing_and_keeps_the_old_file(tmp_path: Path, stop: type[BaseException]) -> None:
    path = tmp_path / "c.tif"
    path.write_bytes(b"the old one")
    with pytest.raises(stop), RasterWriter.classes(path, _grid(100, 20), None, block=32, overwrite=True) as writer:
        writer.write_rows(0, _classes(50, 20))
        raise stop
    assert [p.name for p in tmp_path.iterdir()] == ["c.tif"]
    assert path.read_bytes() == b"the old one"


def test_missing_rows_and_wrong_order_are_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="only 10 of 20 rows"),
        RasterWriter.classes(tmp_path / "c.tif", _grid(20, 20), None) as writer,
    ):
        writer.write_rows(0, _classes(10, 20))
    for row, shape in [(5, (5, 20)), (0, (5, 19)), (0, (21, 20)), (0, (2, 5, 20))]:
        with (
            pytest.raises(ValueError, match="expected"),
            RasterWriter.classes(tmp_path / "c.tif", _grid(20, 20), None) as writer,
        ):
            writer.write_rows(row, np.zeros(shape, np.uint8))
    assert not list(tmp_path.iterdir())


def test_grid_without_crs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="CRS"):
        RasterWriter.classes(tmp_path / "c.tif", GeoBox((5, 5), UTM, None), None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(4000, id="while rows are written"),
        pytest.param(1500, id="while the COG is made"),
    ],
)
def test_full_disk_is_said_and_leaves_nothing(tiny_disk: Callable[[str], Path], size: int) -> None:
    disk = tiny_disk("3m")
    noise = np.random.default_rng(0).integers(0, 250, (size, size)).astype(np.uint8)
    with (
        pytest.raises(OutputError, match="disk full while writing") as caught,
        RasterWriter.classes(disk / "c.tif", _grid(size, size), None) as writer,
    ):
        writer.write_rows(0, noise)
    assert "bytes free" in (caught.value.found or "")
    assert str(estimate_bytes(_grid(size, size))) in (caught.value.expected or "")
    assert not list(disk.iterdir())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="file-size limits are a POSIX feature")
@pytest.mark.parametrize("limit_kib", [300, 900])
def test_file_size_limit_is_said_and_leaves_nothing(tmp_path: Path, limit_kib: int) -> None:
    code = f"""
        import resource, signal, sys
        from pathlib import Path
        import numpy as np
        from affine import Affine
        from odc.geo.geobox import GeoBox
        from codemae_geo.errors import OutputError
        from codemae_geo.raster.write import RasterWriter

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_kib} * 1024, {limit_kib} * 1024))
        noise = np.random.default_rng(0).integers(0, 250, (900, 1000)).astype(np.uint8)
        try:
            grid = GeoBox((900, 1000), Affine(1, 0, 0, 0, -1, 0), "EPSG:32631")
            with RasterWriter.classes(Path("c.tif"), grid, None) as writer:
                writer.write_rows(0, noise)
        except OutputError as error:
            print(error.message)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "c.tif" in done.stdout
    assert not list(tmp_path.iterdir())


def test_space_is_checked_beforehand(tmp_path: Path) -> None:
    check_space(tmp_path / "not" / "made" / "yet", 1)
    with pytest.raises(OutputError, match="not enough disk space") as caught:
        check_space(tmp_path / ".out.xyz.part", 10**18)
    assert ".part" not in str(caught.value), "the hidden folder is nothing to tell of"
    assert str(10**18) in (caught.value.expected or "")


def test_text_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    write_text(path, "{}")
    with pytest.raises(OutputError, match="overwrite"):
        write_text(path, "[]")
    write_text(path, "[]", overwrite=True)
    assert path.read_text() == "[]"
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]
