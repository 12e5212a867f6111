"""The scene that comes with the package, and the names under which every command takes it."""

from __future__ import annotations

from pathlib import Path

#: Joplin, Missouri: see the README beside the files
FOLDER = Path(__file__).parent / "data" / "joplin"
FOOTPRINTS = FOLDER / "buildings.gpkg"
#: name -> file: the image before the tornado, the one after it, and radar after it, simulated from the latter
SCENES = {"demo:pre": FOLDER / "pre.tif", "demo:post": FOLDER / "post.tif", "demo:post-sar": FOLDER / "post_sar.tif"}
#: the model that maps damage from ``demo:pre`` and ``demo:post-sar``
SAR_MODEL = "damage-tiny-sar-demo"
