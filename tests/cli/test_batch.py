"""Several pairs in one call."""

from __future__ import annotations

import json
from pathlib import Path

from support.scenes import make_model, run_codemae, write_raster


def test_pairs_of_a_list_are_mapped_and_gone_on_with(tmp_path: Path) -> None:
    for n in (1, 2):
        write_raster(tmp_path / f"pre{n}.tif", seed=n)
        write_raster(tmp_path / f"post{n}.tif", seed=10 + n)
    model = make_model(tmp_path / "model.safetensors")
    (tmp_path / "pairs.csv").write_text(
        "name,pre,post\nnorth,pre1.tif,post1.tif\nlost,pre1.tif,gone.tif\nsouth,pre2.tif,post2.tif\n"
    )
    words = ["damage", "--batch", tmp_path / "pairs.csv", "-o", tmp_path / "maps", "-m", model, "--progress", "none"]
    first = run_codemae(*words)
    assert first.code == 1 and "1 of 3 pairs could not be mapped" in first.err and "gone.tif" in first.err
    assert "Traceback" not in first.err
    told = json.loads((tmp_path / "maps" / "batch.json").read_text())["pairs"]
    assert list(told) == ["north", "lost", "south"] and "error" in told["lost"]
    assert told["north"]["analysed"]["pixels"] == 100 * 120
    assert (tmp_path / "maps" / "south" / "damage.tif").is_file()
    before = (tmp_path / "maps" / "north" / "damage.tif").stat().st_mtime_ns

    refused = run_codemae(*words)
    assert refused.code == 1 and "--resume" in refused.err
    write_raster(tmp_path / "gone.tif", seed=20)
    again = run_codemae(*words, "--resume", "--json")
    assert again.code == 0, again.err
    assert "pair 2 of 3: lost" in again.err and "pair 1" not in again.err and "pair 3" not in again.err
    assert all("outputs" in entry for entry in again.json["pairs"].values())
    assert (tmp_path / "maps" / "north" / "damage.tif").stat().st_mtime_ns == before


def test_a_wrong_list_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "pairs.json").write_text(json.dumps([{"pre": "a.tif", "colour": "red"}]))
    refused = run_codemae("damage", "--batch", tmp_path / "pairs.json", "-o", tmp_path / "maps")
    assert refused.code == 1 and "pair 1 of pairs.json has an unknown column" in refused.err
    assert not (tmp_path / "maps").exists()
    neither = run_codemae("damage", "-o", tmp_path / "maps")
    assert neither.code == 2 and "--pre" in neither.err
