"""What a file that names others may make us read, and what of a file's text may act on a terminal."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import rasterio
from codemae_cli.app import app
from codemae_datasets.find import read_index
from codemae_datasets.labels import read_labelled
from support.scenes import make_model, run_codemae, write_raster
from typer.testing import CliRunner

from codemae_geo.errors import InputError, OutputError
from codemae_geo.outputs import check_name
from codemae_geo.raster.reach import check_file, check_href
from codemae_geo.raster.scene import Scene
from codemae_geo.vector.footprints import read_footprints


def vrt(path: Path, source: str, *, relative: bool = False) -> Path:
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{n}"><SimpleSource><SourceFilename relativeToVRT="{int(relative)}">'
        f"{source}</SourceFilename><SourceBand>{n}</SourceBand></SimpleSource></VRTRasterBand>"
        for n in (1, 2, 3)
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '<VRTDataset rasterXSize="120" rasterYSize="100"><SRS>EPSG:32615</SRS><GeoTransform>366000,0.5,0,4104000,0,-0.5'
        f"</GeoTransform>{bands}</VRTDataset>"
    )
    return path


def test_a_vrt_reaches_its_own_tiles_and_no_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles, secret = tmp_path / "mine/tiles", tmp_path / "private/secret.tif"
    tiles.mkdir(parents=True)
    secret.parent.mkdir()
    write_raster(tiles / "a.tif")
    write_raster(secret)
    for name, source, relative in (("vrt/a", "../tiles/a.tif", True), ("b", str(tiles / "a.tif"), False)):
        assert Scene.open(vrt(tmp_path / f"mine/{name}.vrt", source, relative=relative)).names
    nested = vrt(tmp_path / "mine/vrt/inner.vrt", str(secret))
    (tmp_path / "mine/vrt/link.tif").symlink_to(secret)
    for source, relative in (
        (str(secret), False),
        ("../../private/secret.tif", True),
        ("link.tif", True),
        (nested.name, True),
    ):
        outer = vrt(tmp_path / "mine/vrt/outer.vrt", source, relative=relative)
        with pytest.raises(InputError, match="what does not belong to it"):
            Scene.open(outer)
    monkeypatch.setenv("CODEMAE_VRT_SOURCES", "any")
    assert Scene.open(vrt(tmp_path / "mine/vrt/outer.vrt", str(secret))).names


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A raster that nobody named; beside its folder lies ``mine/vrt``."""
    for folder in ("mine/vrt", "private"):
        (tmp_path / folder).mkdir(parents=True)
    return write_raster(tmp_path / "private/secret.tif")


def test_names_that_only_gdal_understands(secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine/vrt"
    monkeypatch.chdir(mine)  # a relative name counts from here
    for source in (f"vrt://{secret}?bands=1,2,3", f"GTIFF_DIR:1:{secret}", f"/vsisubfile/0_,{secret}"):
        for relative in (False, True):
            with pytest.raises(InputError, match="what does not belong to it"):
                Scene.open(vrt(mine / "a.vrt", source, relative=relative))


@pytest.mark.parametrize("shape", ["plain", "inner", "inner.tif", "warped", "service", "service inside"])
def test_no_address_that_the_user_did_not_name(tmp_path: Path, shape: str) -> None:
    """Somebody listens at the address, and hears nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(0.2)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/a.tif"
        inner = vrt(tmp_path / ("inner.tif" if shape == "inner.tif" else "inner.vrt"), f"/vsicurl/{address}")
        outer = inner
        if shape.startswith("inner"):
            outer = vrt(tmp_path / "outer.vrt", inner.name, relative=True)
        elif shape == "warped":  # GDAL opens what it warps as it opens the file
            outer.write_text(
                '<VRTDataset rasterXSize="9" rasterYSize="9" subClass="VRTWarpedDataset"><GDALWarpOptions>'
                f"<SourceDataset>/vsicurl/{address}</SourceDataset></GDALWarpOptions></VRTDataset>"
            )
        elif shape.startswith("service"):
            outer = tmp_path / "service.xml"
            outer.write_text(
                f'<GDAL_WMS><Service name="TMS"><ServerUrl>{address}</ServerUrl></Service><DataWindow><SizeX>9</SizeX>'
                "<SizeY>9</SizeY></DataWindow><Projection>EPSG:32615</Projection><BandsCount>3</BandsCount></GDAL_WMS>"
            )
            if shape == "service inside":
                outer = vrt(tmp_path / "outer.vrt", outer.name, relative=True)
        with pytest.raises(InputError, match="what does not belong to it"):
            Scene.open(outer)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_programs_and_options_inside_a_vrt(secret: Path, tmp_path: Path) -> None:
    good = vrt(tmp_path / "mine/vrt/a.vrt", "b.tif", relative=True).read_text()
    write_raster(tmp_path / "mine/vrt/b.tif")
    assert Scene.open(tmp_path / "mine/vrt/a.vrt").names
    for extra in (
        f'<Metadata domain="GEOLOCATION"><MDI key="X_DATASET">{secret}</MDI></Metadata>',
        f"<GDALWarpOptions><TransformOption name='RPC_DEM'>{secret}</TransformOption></GDALWarpOptions>",
        f"<ProcessingSteps><Step><Argument name='gain_dataset_filename_1'>{secret}</Argument></Step></ProcessingSteps>",
        "<PixelFunctionLanguage>Python</PixelFunctionLanguage>",
    ):
        (tmp_path / "mine/vrt/a.vrt").write_text(good.replace("</VRTDataset>", extra + "</VRTDataset>"))
        with pytest.raises(InputError, match="what does not belong to it"):
            Scene.open(tmp_path / "mine/vrt/a.vrt")
    harmless = "<Metadata><MDI key='TIFFTAG_IMAGEDESCRIPTION'>/made/by https://example.com</MDI></Metadata>"
    (tmp_path / "mine/vrt/a.vrt").write_text(good.replace("</VRTDataset>", harmless + "</VRTDataset>"))
    assert Scene.open(tmp_path / "mine/vrt/a.vrt").names


def test_vrts_that_go_in_circles(tmp_path: Path) -> None:
    """Each names the other, a hundred times: looked at once."""
    for name, other in (("a", "b"), ("b", "a")):
        text = vrt(tmp_path / f"{name}.vrt", f"{other}.vrt", relative=True).read_text()
        source = text[text.index("<SimpleSource>") : text.index("</SimpleSource>") + 15]
        (tmp_path / f"{name}.vrt").write_text(text.replace(source, source * 100))
    check_file(tmp_path / "a.vrt", "a.vrt")


def test_assets_of_an_item_that_are_vrts(secret: Path, tmp_path: Path) -> None:
    """Also where several assets become one stack."""
    for name in ("red", "green", "blue"):
        vrt(tmp_path / f"mine/vrt/{name}.vrt", str(secret))
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "s", "geometry": None, "links": [], "stac_extensions": [],
        "properties": {"datetime": "2024-01-01T00:00:00Z"},
        "assets": {name: {"href": f"{name}.vrt"} for name in ("red", "green", "blue")},
    }  # fmt: skip
    (tmp_path / "mine/vrt/item.json").write_text(json.dumps(item))
    for assets in (None, ["red"]):
        with pytest.raises(InputError, match="what does not belong to it"):
            Scene.open(tmp_path / "mine/vrt/item.json", assets=assets, bands=[1, 1, 1] if assets else None)


def test_vector_files_that_name_others(tmp_path: Path) -> None:
    from geopandas import GeoDataFrame
    from shapely.geometry import box

    GeoDataFrame({"damage": [1]}, geometry=[box(0, 0, 1, 1)], crs="EPSG:32615").to_file(tmp_path / "h.gpkg", layer="x")
    text = (
        f'<OGRVRTDataSource><OGRVRTLayer name="x"><SrcDataSource>{tmp_path}/h.gpkg</SrcDataSource></OGRVRTLayer>'
        "</OGRVRTDataSource>"
    )
    for name in ("a.vrt", "a.geojson"):
        (tmp_path / name).write_text(text)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        bundle.writestr("a.vrt", text)
    for name in ("a.vrt", "a.geojson", "a.zip"):
        for read in (read_footprints, read_labelled, read_index):
            with pytest.raises(InputError, match="what does not belong to it"):
                read(tmp_path / name)


@pytest.mark.parametrize(
    ("item", "href", "taken"),
    [
        ("https://example.com/item.json", "https://example.com/a.tif", True),
        ("https://example.com/item.json", "s3://bucket/a.tif", True),
        ("https://example.com/item.json", "/etc/passwd", False),
        ("https://example.com/item.json", "file:///etc/passwd", False),
        ("https://example.com/item.json", "<VRTDataset/>", False),
        ("https://example.com/item.json", "/vsizip/home.zip/a.tif", False),
        ("item.json", "scene.tif", True),
        ("item.json", "/vsicurl/http://127.0.0.1/a.tif", False),
        ("item.json", "<VRTDataset/>", False),
        ("item.json", "NETCDF:/home/me/a.nc:x", False),
        ("item.json", "vrt:///home/me/a.tif?bands=1", False),
    ],
)
def test_what_a_stac_item_may_name(item: str, href: str, taken: bool) -> None:
    if taken:
        check_href(href, item, "scene")
        return
    with pytest.raises(InputError, match="names what is not a raster of its own"):
        check_href(href, item, "scene")


def test_nothing_of_a_file_acts_on_a_terminal(tmp_path: Path) -> None:
    """The command's own streams, on a terminal and off it."""
    item = {"type": "Feature", "id": "\x1b[2Jx", "assets": {}}
    (tmp_path / "item.json").write_text(json.dumps(item))
    path = write_raster(tmp_path / "scene.tif")
    with rasterio.open(path, "r+") as file:
        file.set_band_description(1, "a\x1b]0;owned\x07b\x9b2J")
    said = run_codemae("info", path)
    assert said.code == 0 and "owned" in said.out
    refused = run_codemae("info", tmp_path / "item.json")
    assert refused.code == 1
    for text in (said.out, said.err, refused.out, refused.err):
        assert not [c for c in text if (ord(c) < 32 and c not in "\n\t\r") or 127 <= ord(c) < 160]
    if sys.platform == "win32":
        return
    import pty

    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "codemae_cli", "info", str(path)]
    subprocess.run(command, stdout=follower, stderr=subprocess.DEVNULL, check=True, env={**os.environ, "TERM": "xterm"})
    os.close(follower)
    shown = b""
    try:
        while block := os.read(leader, 4096):
            shown += block
    except OSError:  # how a terminal ends
        pass
    os.close(leader)
    assert b"owned" in shown and b"\x1b" not in shown and b"\x07" not in shown


@pytest.mark.parametrize("name", ["a\0b", "caf\udce9"])
def test_names_that_are_no_text(name: str) -> None:
    with pytest.raises(OutputError, match=r"NUL|not text in UTF-8"):
        check_name(name)


def test_names_that_no_file_has(tmp_path: Path) -> None:
    """Too long, in Latin-1, or links in a circle: one message each, for what is read and for what is written."""
    model = make_model(tmp_path / "m.safetensors", task="segmentation")
    scene = write_raster(tmp_path / "a.tif")
    latin = os.fsdecode(bytes(tmp_path) + b"/caf\xe9.tif")
    (tmp_path / "one").symlink_to(tmp_path / "two")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    names = ["x" * 300, str(tmp_path / "one")]
    if sys.platform.startswith("linux"):
        Path(latin).write_bytes(scene.read_bytes())
        names.append(latin)
    for name in names:
        for words in (
            ["info", name],
            ["predict", model, name, "-o", tmp_path / "out"],
            ["predict", model, scene, "-o", name],
            ["predict", model, scene, "-o", tmp_path / "out", "--aoi", name],
            ["predict", name, scene, "-o", tmp_path / "out"],
            ["checkpair", "--pre", name, "--post", scene],
            ["damage", "--pre", scene, "--post", name, "-o", tmp_path / "out"],
            ["data", "stats", name],
            ["data", "index", name, "-o", tmp_path / "index.parquet"],
            ["models", "card", name],
        ):
            result = CliRunner().invoke(app, [str(w) for w in words])
            assert isinstance(result.exception, SystemExit), (words, result.exception)
            assert result.exit_code == 1 and result.stderr.count("error: ") <= 1, words
    assert not (tmp_path / "out").exists()
