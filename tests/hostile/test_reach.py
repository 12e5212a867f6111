"""What a file that names others may make us read, and what of a file's text may act on a terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
from support.scenes import run_codemae, write_raster

from codemae_geo.errors import InputError, OutputError
from codemae_geo.outputs import check_name
from codemae_geo.raster.reach import check_href
from codemae_geo.raster.scene import Scene


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
        with pytest.raises(InputError, match="does not belong to it"):
            Scene.open(outer)
    monkeypatch.setenv("CODEMAE_VRT_SOURCES", "any")
    assert Scene.open(vrt(tmp_path / "mine/vrt/outer.vrt", str(secret))).names


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
