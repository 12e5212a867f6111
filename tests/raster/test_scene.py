from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
import rasterio.shutil
from affine import Affine

from codemae_geo.errors import InputError
from codemae_geo.raster import scene as scene_module
from codemae_geo.raster.read import AlignedReader
from codemae_geo.raster.scene import Scene, expand_paths

RGB = np.ones((3, 8, 8), "u1")


def test_a_mosaic_is_the_union_on_the_first_lattice(make_raster: Any) -> None:
    for i in range(4):
        t = Affine(0.3, 0, 100_000.1 + 0.3 * 8 * (i % 2), 0, -0.3, 4_000_000.7 - 0.3 * 8 * (i // 2))
        make_raster(f"m/{i}.tif", RGB, transform=t)
    folder = make_raster("m/0.tif", RGB, transform=Affine(0.3, 0, 100_000.1, 0, -0.3, 4_000_000.7)).parent
    by_folder = Scene.open(folder)
    by_pattern = Scene.open(f"{folder}/*.tif")
    by_names = Scene.open(sorted(folder.glob("*.tif")))
    assert by_folder == by_pattern == by_names
    assert by_folder.geobox.shape.yx == (16, 16)
    assert by_folder.geobox.affine == Affine(0.3, 0, 100_000.1, 0, -0.3, 4_000_000.7)
    # the order of the files moves the lattice's first pixel, not the corner
    back = Scene.open(sorted(folder.glob("*.tif"), reverse=True))
    assert back.geobox == by_folder.geobox


def test_real_mosaic_corner_is_the_files_own(shared: Path) -> None:
    scene = Scene.open(shared / "data/joplin/pre")
    transforms = []
    for path in (shared / "data/joplin/pre").glob("*.tif"):
        with rasterio.open(path) as ds:
            transforms.append(ds.transform)
    assert scene.geobox.affine.c == min(t.c for t in transforms)
    assert scene.geobox.affine.f == max(t.f for t in transforms)
    assert scene.geobox.shape.yx == (2048, 2048)


def test_files_of_other_systems_join(make_raster: Any) -> None:
    a = make_raster("a.tif", RGB, transform=Affine(10, 0, 500_000, 0, -10, 5_000_000))
    b = make_raster("b.tif", RGB, crs="EPSG:4326", transform=Affine(1e-4, 0, 15.002, 0, -1e-4, 45.15))
    scene = Scene.open([a, b])
    assert scene.crs == "EPSG:32633"
    assert scene.geobox.affine.a == 10
    assert scene.geobox.shape.x > 8


def test_opening_reads_no_pixel(make_raster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_raster("a.tif", RGB)

    def fail(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("pixels were read")

    monkeypatch.setattr("codemae_geo.raster.source.read_window", fail)
    scene = Scene.open(path)
    assert (scene.unit, scene.band_count) == ("uint8", 3)
    assert scene.gsd == pytest.approx(2, rel=1e-3)
    with pytest.raises(AssertionError):  # the spy works: floats must be looked at
        Scene.open(make_raster("f.tif", RGB.astype("f4")))


def test_radar_has_one_band_to_repeat(shared: Path) -> None:
    folder = shared / "data/spacenet6_rotterdam"
    scene = Scene.open(folder / "sar_masked.tif", role="post", family="sar")
    assert (scene.unit, scene.band_count) == ("db", 1)
    assert Scene.open(folder / "sar_hh.tif", family="sar").unit == "complex"
    assert Scene.open(folder / "sar_masked.tif", family="sar", bands=[4]).files[0].bands == (4,)
    assert "unit db" in scene.describe()


def test_units_can_be_overridden(make_raster: Any) -> None:
    path = make_raster("a.tif", np.ones((8, 8), "f4"))
    assert Scene.open(path, family="sar", unit="power").unit == "power"
    with pytest.raises(InputError, match="does not exist"):
        Scene.open(path, family="sar", unit="reflectance")


def test_mixed_dates_are_refused(make_raster: Any) -> None:
    a, b = make_raster("a.tif", RGB), make_raster("b.tif", RGB.astype("u2"))
    with pytest.raises(InputError, match="different types") as error:
        Scene.open([a, b])
    assert "b.tif" in str(error.value)


def test_nothing_to_open_is_refused(tmp_path: Path) -> None:
    empty: tuple[Any, ...] = ([], tmp_path, tmp_path / "*.tif")
    for nothing in empty:
        with pytest.raises(InputError):
            Scene.open(nothing)


def test_a_file_named_twice_counts_once(make_raster: Any) -> None:
    path = make_raster("a.tif", RGB)
    assert len(Scene.open([path, path]).files) == 1


def test_ground_distance_is_measured_on_the_ground(shared: Path) -> None:
    scene = Scene.open(shared / "data/los_angeles_s1s2/optical/S2A_20201104_034.tif")
    assert scene.gsd == pytest.approx(10 * np.cos(np.radians(34.13)), rel=0.01)  # World Mercator stretches by 1/cos


def test_gdal_paths_and_virtual_rasters(make_raster: Any, tmp_path: Path) -> None:
    path = make_raster("a.tif", RGB)
    virtual = tmp_path / "v.vrt"
    with rasterio.open(path) as src:
        rasterio.shutil.copy(src, virtual, driver="VRT")
    assert Scene.open(virtual).geobox == Scene.open(path).geobox
    assert scene_module.expand_paths(["/vsicurl/https://a/b*.tif", "s3://b/k?.tif"], "pre") == [
        "/vsicurl/https://a/b*.tif", "s3://b/k?.tif",
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------------- STAC


@pytest.fixture
def item(make_raster: Any, tmp_path: Path) -> Path:
    stac = pystac.Item("S2_test", None, None, datetime(2020, 1, 1, tzinfo=UTC), {})
    for value, name in ((10, "B02"), (20, "B03"), (30, "B04")):
        make_raster(f"stac/{name}.tif", np.full((8, 8), value, "u2"), nodata=0)
        stac.add_asset(name, pystac.Asset(f"./{name}.tif", media_type=pystac.MediaType.COG))
    make_raster("stac/coarse.tif", np.full((4, 4), 9, "u2"))
    stac.add_asset("coarse", pystac.Asset("./coarse.tif"))
    path = tmp_path / "stac/item.json"
    path.write_text(json.dumps(stac.to_dict(include_self_link=False)))
    return path


def test_stac_bands_are_stacked(item: Path) -> None:
    scene = Scene.open(item)
    with AlignedReader(scene, scene.geobox) as reader:
        pixels = reader.read_rows(0, 8)
    assert pixels.data[:, 0, 0].tolist() == [30, 20, 10]
    assert pixels.valid.all()
    assert scene.files[0].nodata == 0
    assert scene.names == ["S2_test[B04,B03,B02]"]
    asked = Scene.open(item, assets=["B02", "B03", "B04"])
    assert "B02,B03,B04" in asked.names[0]
    assert Scene.open(item, family="sar", assets=["B03"]).band_count == 1


@pytest.mark.parametrize("assets", [["B99"], ["B02", "B03", "coarse"]])
def test_wrong_stac_assets_are_refused(item: Path, assets: list[str]) -> None:
    with pytest.raises(InputError) as error:
        Scene.open(item, assets=assets)
    assert "S2_test" in str(error.value)


def test_json_that_is_no_item_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"type": "FeatureCollection"}')
    with pytest.raises(InputError, match="not a STAC item"):
        Scene.open(path)


def test_what_systems_keep_beside_scenes_is_not_one(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"only its name counts")
    for name in (
        "._a.tif",
        ".DS_Store",
        "Thumbs.db",
        "a.tif.aux.xml",
        "a.tif.ovr",
        "a.tfw",
        "desktop.ini",
        ".hidden.tif",
    ):
        (tmp_path / name).write_bytes(b"no raster")
    assert expand_paths([tmp_path], "pre") == [str(tmp_path / "a.tif")]
