"""OSPretrain-1M from generated copies of its fifteen sources: built, checked, packed, interrupted, resumed."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from codemae_datasets.collection import build as building
from codemae_datasets.collection.build import PARTS, SOURCES, build, to_uint8, windows
from codemae_datasets.collection.pack import pack, verify_pack
from codemae_datasets.ospretrain import OSPretrain, published_statistics
from codemae_datasets.packed import PackedPairs
from codemae_datasets.public import dataset_class, open_dataset
from codemae_datasets.public.ospretrain1m import FOLDERS, OSPretrain1M, normalise
from PIL import Image
from support.sources import generate

from codemae_geo.errors import InputError, OutputError
from codemae_geo.progress import Reporter

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
PAIRED = [p.folder for p in PARTS if not p.sensor]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every source in its published layout, images of 16 pixels."""
    return generate(tmp_path_factory.mktemp("sources"), SOURCES)


@pytest.fixture(scope="module")
def built(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("built") / "os"
    build([str(sources)], output, patch=8)
    return output


def tree(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_all_fifteen_are_there() -> None:
    groups = {p.source.split("_track")[0] for p in PARTS if p.folder != "DDHR"} | {"ddhr"}
    assert len(groups) == 15
    assert {p.folder for p in PARTS} <= set(published_statistics())
    by_folder = {p.folder: p.images for p in PARTS if not p.sensor}
    tracks = by_folder.pop("DFC23_Track1"), by_folder.pop("DFC23_Track2")
    assert sum(by_folder.values()) + tracks[0] == 538_166 and tracks[0] == tracks[1]
    assert sum({p.source: p.images for p in PARTS if p.sensor}.values()) == 518_076
    for part in PARTS:  # the splits that the table names exist
        assert {*part.lists, *part.held_out} <= set(dataset_class(part.source).card.splits)


def test_what_is_built(sources: Path, built: Path) -> None:
    report = json.loads((built / "ospretrain.json").read_text())
    for part in PARTS:
        if not part.lists:
            assert part.source not in report["sources"]
            continue
        count = report["sources"][part.source]
        assert count["patches"] > 0 and count["left_out"] == 0
        if part.sensor is None:
            assert count["patches"] == 4 * count["images"]  # 16 pixels in patches of 8
    for folder in set(PAIRED):
        listed = [n for p in built.joinpath(folder).glob("*.txt") for n in p.read_text().split()]
        assert listed and len(listed) == len(set(listed))
        for modality, mode in (("RGB", {"RGB", "L"}), ("SAR", {"L"})):
            files = list((built / folder / modality).iterdir())
            assert {p.stem for p in files} == set(listed)
            assert {Image.open(p).mode for p in files} <= mode
    assert {p.name for p in built.iterdir()} == {*FOLDERS, "ospretrain.json"} - {
        "PIE-RGB-SAR",
        "YESeg-OPT-SAR",
        "SS4EO-S12",
    }


def test_patches_are_cut_from_the_images(sources: Path, built: Path) -> None:
    source = open_dataset("earthmiss", sources / "earthmiss", split="train")
    item, sample = source.items[0], source[0]
    name = "train_" + item.name.replace("/", "_")
    for row, col in ((0, 0), (0, 8), (8, 0), (8, 8)):
        for key, modality in (("image", "RGB"), ("image_sar", "SAR")):
            patch = np.asarray(Image.open(built / "EarthMiss" / modality / f"{name}_{row}_{col}.png").convert("RGB"))
            whole = sample[key].numpy().transpose(1, 2, 0)[row : row + 8, col : col + 8]
            assert (patch == whole.astype(np.uint8)).all()


def test_values_that_are_not_of_8_bits_are_stretched(sources: Path, built: Path) -> None:
    low, high = json.loads((built / "ospretrain.json").read_text())["stretch"]["msaw.sar"]
    source = open_dataset("msaw", sources / "msaw")
    pixels = np.concatenate([s["image_sar"].numpy()[0][s["valid"].numpy()] for s in source])
    assert (low, high) == pytest.approx(tuple(np.quantile(pixels, (0.02, 0.98))), rel=1e-6)
    sample, name = source[0], source.items[0].name
    patch = np.asarray(Image.open(built / "SpaceNet6/SAR" / f"{name}_8_8.png"))
    expected = (sample["image_sar"].numpy()[0, 8:, 8:] - low) / (high - low) * 255
    assert np.abs(patch - expected.clip(0, 255)).max() <= 0.5 + 1e-4
    edge = np.asarray(Image.open(built / "SpaceNet6/SAR" / f"{name}_0_0.png"))
    assert (edge[:, :2] == 0).all()  # without data


def test_tests_stay_out_unless_asked_for(sources: Path, built: Path, tmp_path: Path) -> None:
    held_out = {"WHU-OPT-SAR", "OGSOD-2", "DDHR", "DFC23_Track1"}
    assert not [f for f in held_out if (built / f / "test.txt").exists()]
    names = ["whu_opt_sar", "ogsod2", "ddhr_xa", "ddhr_sk", "dfc23_track1"]
    build([str(sources)], tmp_path / "os", sources=names, held_out=True, patch=8)
    assert {f for f in held_out if (tmp_path / "os" / f / "test.txt").exists()} == held_out
    tests = OSPretrain1M(tmp_path / "os", split="test")
    train = OSPretrain1M(tmp_path / "os", split="train")
    assert {i.name.split("/")[0] for i in tests.items} == held_out
    assert not {i.name for i in tests.items} & {i.name for i in train.items}
    assert len(OSPretrain(tmp_path / "os").pairs) == len(train)


def test_verify_finds_what_changed(built: Path, tmp_path: Path) -> None:
    report = OSPretrain1M.verify(built)
    assert report.ok, report
    assert set(report.checksums.values()) == {"ok"} and len(report.checksums) == 12
    assert "test" in report.missing
    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    changed, lost = sorted((copy / "EarthMiss/RGB").iterdir())[:2]
    Image.new("RGB", (8, 8), (1, 2, 3)).save(changed)
    lost.unlink()
    bad = OSPretrain1M.verify(copy)
    problems = "\n".join(bad.splits["train"].problems)
    assert not bad.ok and str(changed) in problems and str(lost) in problems


def test_packed_and_read_by_the_recipe(built: Path, tmp_path: Path) -> None:
    pack(built, tmp_path / "packed")
    verify_pack(tmp_path / "packed")
    folder, shards = OSPretrain(built), PackedPairs(tmp_path / "packed")
    assert shards.names == folder.names and len(shards.pairs) == len(folder.pairs) > 100
    assert torch.equal(shards.statistics().sar, folder.statistics().sar)


def test_killed_and_resumed_gives_the_same_bytes(
    sources: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "os"
    png = building._png
    monkeypatch.setattr(building, "_png", lambda image: (time.sleep(0.005), png(image))[1])
    journal = output / ".build/journal.jsonl"
    lines = 0
    for target in (15, 40):  # stopped twice
        process = multiprocessing.get_context("fork").Process(
            target=build, args=([str(sources)], output), kwargs={"patch": 8}
        )
        process.start()
        while lines < target:
            assert process.is_alive()
            time.sleep(0.005)
            lines = journal.read_text().count("\n") if journal.exists() else 0
        process.kill()
        process.join()
    monkeypatch.undo()
    with journal.open("a") as file:
        file.write('{"group": "broken o')
    victim = output / json.loads(journal.read_text().splitlines()[0])["files"][0][0]
    victim.unlink()
    kept = {p: p.stat().st_mtime_ns for p in output.rglob("*.png") if p != victim}
    build([str(sources)], output, patch=8, workers=3)
    assert tree(output) == tree(built)
    assert sum(p.stat().st_mtime_ns == t for p, t in kept.items()) > len(kept) // 2  # not cut again
    before = (output / "ospretrain.json").stat().st_mtime_ns
    build([str(sources)], output, patch=8)
    assert (output / "ospretrain.json").stat().st_mtime_ns == before
    with pytest.raises(OutputError, match="other images or settings"):
        build([str(sources)], output, patch=4)


def test_a_full_disk_is_said_and_the_build_goes_on_elsewhere(
    sources: Path, built: Path, tiny_disk: Callable[[str], Path], tmp_path: Path
) -> None:
    disk = tiny_disk("700k")
    with pytest.raises(OutputError, match="disk full"):
        build([str(sources)], disk / "os", patch=8)
    shutil.copytree(disk / "os", tmp_path / "os")  # to a larger disk
    build([str(sources)], tmp_path / "os", patch=8)
    assert tree(tmp_path / "os") == tree(built)


def test_missing_sources_say_what_where_and_how(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "earthmiss" / "America-Eugene").mkdir(parents=True)
    with pytest.raises(InputError, match="3 sources are missing") as missing:
        build([str(tmp_path / "in")], tmp_path / "os", sources=["msaw", "qxs_saropt", "earthmiss"])
    text = str(missing.value)
    assert "MSAW" in text and str(tmp_path / "in/msaw") in text and "spacenet.ai" in text and "PS-RGB" in text
    assert "earthmiss" in text and "zenodo.org/records/17231107" in text and not (tmp_path / "os").exists()
    with pytest.raises(InputError, match="a source is missing") as missing:
        build([str(sources), f"msaw={tmp_path}"], tmp_path / "os", sources=["msaw", "qxs_saropt"])
    assert "sources=qxs_saropt" in str(missing.value)
    with pytest.raises(InputError, match="'qxs' is not a source"):
        build([str(sources)], tmp_path / "os", sources=["qxs"])
    with pytest.raises(InputError, match="does not exist"):
        build([str(tmp_path / "nowhere")], tmp_path / "os")


def one_source(sources: Path, tmp_path: Path) -> Path:
    """A copy of QXS-SAROPT, to be damaged."""
    shutil.copytree(sources / "qxs_saropt", tmp_path / "in/qxs_saropt")
    return next(iter(sorted((tmp_path / "in").rglob("opt*/*.png"))))


def test_bad_images_are_named_and_mended_builds_go_on(sources: Path, tmp_path: Path) -> None:
    image = one_source(sources, tmp_path)
    good = image.read_bytes()
    arguments = ([str(tmp_path / "in")], tmp_path / "os")
    image.write_bytes(good[: len(good) // 2])
    with pytest.raises(InputError, match=f"{image.name} does not decode"):
        build(*arguments, sources=["qxs_saropt"])
    Image.new("RGB", (9, 16)).save(image)
    with pytest.raises(InputError, match="differ in size") as sizes:
        build(*arguments, sources=["qxs_saropt"], overwrite=True)
    assert str(image) in str(sizes.value)
    image.write_bytes(good)
    done = build(*arguments, sources=["qxs_saropt"], overwrite=True)
    assert done["sources"]["qxs_saropt"]["patches"] == 3
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something else"):
        build([str(tmp_path / "in")], tmp_path / "full", sources=["qxs_saropt"])


def test_blank_patches_are_left_out(sources: Path, tmp_path: Path) -> None:
    image = one_source(sources, tmp_path)
    pixels = np.asarray(Image.open(image)).copy()
    pixels[:8, :8] = 0
    Image.fromarray(pixels).save(image)
    done = build([str(tmp_path / "in")], tmp_path / "os", sources=["qxs_saropt"], patch=8)
    assert (done["sources"]["qxs_saropt"]["patches"], done["sources"]["qxs_saropt"]["left_out"]) == (11, 1)


def test_an_interrupted_build_says_that_it_goes_on(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    said: list[str] = []
    reporter = Reporter()
    monkeypatch.setattr(reporter, "log", said.append)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(building, "_cut", stopped)
        build([str(sources)], tmp_path / "os", sources=["msaw"], reporter=reporter)
    assert "the same command goes on" in said[-1]
    assert build([str(sources)], tmp_path / "os", sources=["msaw"])["sources"]["msaw"]["patches"] == 2


def test_limits_can_be_given(sources: Path, tmp_path: Path) -> None:
    done = build([str(sources)], tmp_path / "os", sources=["msaw"], stretch={"msaw.sar": (0, 40)})
    assert done["stretch"]["msaw.sar"] == (0, 40)
    with pytest.raises(InputError, match=r"nothing to stretch called msaw\.radar"):
        build([str(sources)], tmp_path / "b", sources=["msaw"], stretch={"msaw.radar": (0, 40)})
    assert not (tmp_path / "b").exists()
    # a build that goes on with another stretch would have two in one collection
    with pytest.raises(OutputError, match="other images or settings"):
        build([str(sources)], tmp_path / "os", sources=["msaw"], stretch={"msaw.sar": (0, 30)})
    with pytest.raises(InputError, match=r"a\.tif does not hold values of 8 bits"):
        to_uint8(np.array([[[300.0]]]), None, None, "a.tif")


def test_archives_that_leave_their_folder_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "in/openearthmap_sar"
    root.mkdir(parents=True)
    with zipfile.ZipFile(root / "dfc25_track1_trainval.zip", "w") as archive:
        archive.writestr("../../escaped.txt", "no")
    with pytest.raises(InputError, match="would write outside its folder"):
        build([str(tmp_path / "in")], tmp_path / "os", sources=["openearthmap_sar"])
    assert not list(tmp_path.rglob("escaped.txt"))


def test_whole_patches_only() -> None:
    assert len(list(windows(3704, 5556, 256, "drop"))) == 294  # a scene of WHU-OPT-SAR
    assert len(list(windows(900, 900, 256, "cover"))) == 16
    assert list(windows(100, 600, 256, "drop")) == [(0, 0), (0, 256)]
    assert list(windows(100, 600, None, "drop")) == [(0, 0)]


def test_normalised_by_dataset(built: Path) -> None:
    plain, ready = OSPretrain1M(built), OSPretrain1M(built, transforms=normalise)
    for index in (0, len(plain) - 1):
        sample = plain[index]
        known = published_statistics()[FOLDERS[int(sample["dataset"])]]
        for key, modality in (("image", "rgb"), ("image_sar", "sar")):
            mean, std = (torch.tensor(known[modality][n][: len(sample[key])])[:, None, None] for n in ("mean", "std"))
            assert torch.allclose(ready[index][key], (sample[key] / 255 - mean) / std)
    assert int(plain[0]["dataset"]) != int(plain[len(plain) - 1]["dataset"])


def test_unpaired_images_are_matched_anew(built: Path) -> None:
    data = OSPretrain1M(built, split="unpaired")
    first = [tuple(i.files.values()) for i in data.items]
    data.set_epoch(1)
    second = [tuple(i.files.values()) for i in data.items]
    assert first != second
    data.set_epoch(0)
    assert [tuple(i.files.values()) for i in data.items] == first
    assert not data[0]["paired"] and FOLDERS[int(data[0]["dataset"])] == "Unpaired"


def test_nodata_needs_half_a_patch(sources: Path, tmp_path: Path) -> None:
    shutil.copytree(sources / "msaw", tmp_path / "in/msaw")
    for path in sorted((tmp_path / "in").rglob("PS-RGB/*.tif"))[:1]:
        with rasterio.open(path, "r+") as file:
            data = file.read()
            data[:, :5, 8:] = 0
            file.write(data)
    done = build([str(tmp_path / "in")], tmp_path / "os", sources=["msaw"], patch=8)
    assert (done["sources"]["msaw"]["patches"], done["sources"]["msaw"]["left_out"]) == (7, 1)
