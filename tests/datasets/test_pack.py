"""Shards of a collection: the same bytes whatever happens on the way, the same samples as the folder."""

from __future__ import annotations

import io
import json
import multiprocessing
import pickle
import tarfile
import time
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from codemae_datasets.collection import pack as packing
from codemae_datasets.collection.pack import pack, verify_pack
from codemae_datasets.ospretrain import OSPretrain
from codemae_datasets.packed import PackedPairs
from codemae_datasets.pairs import collate
from codemae_datasets.samplers import PairBatchSampler, seeded
from PIL import Image
from support.pairs import make_ospretrain
from torch.utils.data import DataLoader

from codemae_geo.errors import InputError, OutputError

SMALL = 60_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 pairs (3 of them tests that stay out), 17 optical and 20 SAR images without a counterpart."""
    return make_ospretrain(tmp_path_factory.mktemp("os") / "in", {"DDHR": 12, "EarthMiss": 24}, (17, 20))


@pytest.fixture(scope="module")
def shards(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("packed") / "out"
    pack(folder, output, shard_bytes=SMALL)
    return output


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def key(sample: dict) -> tuple:
    return sample["dataset"], sample["paired"], sample["rgb"].numpy().tobytes(), sample["sar"].numpy().tobytes()


def test_the_samples_are_those_of_the_folder(folder: Path, shards: Path) -> None:
    for use in ("both", "paired", "unpaired"):
        plain, packed = OSPretrain(folder, use), PackedPairs(shards, use)
        assert packed.names == plain.names and len(packed.pairs) == len(plain.pairs)
        items = plain.paired_items(seeded(0))
        ours = sorted(key(packed[item]) for item in packed.paired_items(seeded(0)))
        assert ours == sorted(key(plain[item]) for item in items)
        ours = [packed[i] for i in packed.unpaired_items(seeded(0))]
        theirs = [plain[i] for i in plain.unpaired_items(seeded(0))]
        assert len(ours) == len(theirs) == (0 if use == "paired" else 17)
        assert sorted(s["rgb"].numpy().tobytes() for s in ours) == sorted(s["rgb"].numpy().tobytes() for s in theirs)
    assert torch.equal(OSPretrain(folder).statistics().rgb, PackedPairs(shards).statistics().rgb)


def test_tests_and_datasets_stay_out(folder: Path, shards: Path) -> None:
    whole = PackedPairs(shards, exclude_test=())
    assert len(whole.pairs) == 36 and len(PackedPairs(shards).pairs) == 33
    assert len(PackedPairs(shards, exclude=["EarthMiss"]).pairs) == 9


def test_an_epoch_is_a_function_of_its_seed_and_keeps_to_few_shards(shards: Path) -> None:
    source = PackedPairs(shards, window=1)
    assert len([s for s in source.shards if s.startswith("paired")]) > 2

    def batches(seed: int, epoch: int, rank: int = 0, world: int = 1) -> list:
        sampler = PairBatchSampler(source, 4, seed, rank, world)
        sampler.epoch = epoch
        return list(sampler)

    assert batches(1, 0) == batches(1, 0) != batches(1, 1) != batches(2, 1)
    halves = [batches(1, 0, rank, 2) for rank in range(2)]
    assert [a + b for a, b in zip(*halves, strict=True)] == batches(1, 0)
    first = len(source.pairs)
    flat = [item for batch in batches(1, 0) for item in batch if item[0] < first]
    assert len(flat) == 32 == len(set(flat))
    shard = [int(source._shard[source._rows["paired"][i]]) for i, _ in flat]
    assert sum(a != b for a, b in pairwise(shard)) == len(set(shard)) - 1
    assert {item[0] < first for batch in batches(1, 0) for item in batch} == {True, False}
    wide = PackedPairs(shards, window=8)
    order = [int(wide._shard[wide._rows["paired"][i]]) for i, _ in wide.paired_items(seeded(3))]
    assert sum(a != b for a, b in pairwise(order)) > len(set(order))


def test_workers_read_what_one_process_reads(shards: Path) -> None:
    source = PackedPairs(shards)
    source[(0, 0)]  # a shard is open before the fork

    def epoch(workers: int) -> list:
        loader = DataLoader(
            source, batch_sampler=PairBatchSampler(source, 8), collate_fn=collate, num_workers=workers,
            multiprocessing_context="fork" if workers else None,
        )  # fmt: skip
        return [(b["rgb"].sum().item(), b["sar"].sum().item(), b["dataset"].tolist()) for b in loader]

    assert epoch(2) == epoch(0)
    assert key(pickle.loads(pickle.dumps(source))[(3, 3)]) == key(source[(3, 3)])  # as a spawned worker gets it


def test_webdataset_reads_the_shards(folder: Path, shards: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    urls = [str(shards / s) for s in PackedPairs(shards).shards if s.startswith("paired")]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert len(samples) == 36 and {s["__key__"].split("/")[0] for s in samples} == {"DDHR", "EarthMiss"}
    for sample in samples:
        name = sample["__key__"]
        dataset, stem = name.split("/")
        assert sample["rgb.png"] == (folder / dataset / "RGB" / f"{stem}.png").read_bytes()
        assert sample["sar.png"] == (folder / dataset / "SAR" / f"{stem}.png").read_bytes()


def test_killed_and_resumed_gives_the_same_bytes(
    folder: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    contents_of = packing._contents
    monkeypatch.setattr(packing, "_contents", lambda *args: (time.sleep(0.01), contents_of(*args))[1])
    process = multiprocessing.get_context("fork").Process(
        target=pack, args=(folder, output), kwargs={"shard_bytes": SMALL}
    )
    process.start()
    while len(list(output.glob("*.tar"))) < 3:
        assert process.is_alive()
        time.sleep(0.002)
    process.kill()
    process.join()
    monkeypatch.undo()
    assert not (output / "manifest.json").exists()
    kept = {p.name: p.stat().st_mtime_ns for p in output.glob("*.tar")}
    with pytest.raises(InputError, match="holds no finished shards") as unfinished:
        PackedPairs(output)
    assert "it continues" in str(unfinished.value)
    pack(folder, output, shard_bytes=SMALL, workers=2)
    assert contents(output) == contents(shards)
    assert all((output / name).stat().st_mtime_ns == time for name, time in kept.items())
    again = (output / "manifest.json").stat().st_mtime_ns
    pack(folder, output, shard_bytes=SMALL)
    assert (output / "manifest.json").stat().st_mtime_ns == again


def test_a_folder_of_other_shards_is_kept(folder: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="other images or settings"):
        pack(folder, shards, shard_bytes=SMALL, seed=1)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds something else"):
        pack(folder, tmp_path / "full")
    pack(folder, tmp_path / "out")
    assert len(verify_pack(tmp_path / "out")["shards"]) == 3
    pack(folder, tmp_path / "out", shard_bytes=SMALL, overwrite=True)
    assert contents(tmp_path / "out") == contents(shards)


def copy(shards: Path, target: Path) -> Path:
    target.mkdir()
    for name, data in contents(shards).items():
        (target / name).write_bytes(data)
    return target


def test_damaged_shards_are_named(shards: Path, tmp_path: Path) -> None:
    damaged = copy(shards, tmp_path / "a")
    whole = (damaged / "paired-00001.tar").read_bytes()
    (damaged / "paired-00001.tar").write_bytes(whole[:-3000])
    with pytest.raises(InputError, match=r"paired-00001\.tar is truncated"):
        PackedPairs(damaged)
    (damaged / "paired-00001.tar").unlink()
    with pytest.raises(InputError, match=r"paired-00001\.tar is missing"):
        PackedPairs(damaged)
    (damaged / "paired-00001.tar").write_bytes(whole[:-3000] + bytes(3000))
    with pytest.raises(InputError, match=r"paired-00001\.tar is changed"):
        verify_pack(damaged)
    source = PackedPairs(damaged)
    (damaged / "paired-00001.tar").write_bytes(whole[:1000])  # while it is read
    errors = [s["error"]["message"] for s in map(source.__getitem__, source.paired_items(seeded(0))) if "error" in s]
    assert errors and all("paired-00001.tar is truncated" in e for e in errors)


def test_bad_images_are_named(tmp_path: Path) -> None:
    root = make_ospretrain(tmp_path / "in", {"EarthMiss": 8})
    good = (root / "EarthMiss/RGB/3.png").read_bytes()
    (root / "EarthMiss/RGB/3.png").write_bytes(good[:200])
    with pytest.raises(InputError, match=r"RGB/3\.png does not decode"):
        pack(root, tmp_path / "out")
    Image.new("RGB", (8, 8)).save(root / "EarthMiss/RGB/3.png")
    with pytest.raises(InputError, match=r"pair 3\.png of EarthMiss differ in size"):
        pack(root, tmp_path / "out", overwrite=True)
    (root / "EarthMiss/RGB/3.png").unlink()
    with pytest.raises(InputError, match=r"RGB/3\.png is not there"):
        pack(root, tmp_path / "out", overwrite=True)
    (root / "EarthMiss/RGB/3.png").write_bytes(good)
    with (root / "EarthMiss/train.txt").open("a") as file:
        file.write("3\n")
    with pytest.raises(InputError, match="listed twice"):
        pack(root, tmp_path / "out", overwrite=True)
    with pytest.raises(InputError, match="does not exist"):
        pack(tmp_path / "nowhere", tmp_path / "out")


def test_what_is_in_a_shard(shards: Path) -> None:
    manifest = json.loads((shards / "manifest.json").read_text())
    assert manifest["datasets"]["DDHR"] == {"train": 6, "val": 3, "test": 3}
    assert manifest["datasets"]["Unpaired"] == {"rgb": 17, "sar": 20}
    assert sum(s["samples"] for s in manifest["shards"]) == 36 + 17 + 20
    with tarfile.open(fileobj=io.BytesIO((shards / "paired-00000.tar").read_bytes())) as tar:
        members = tar.getmembers()
    assert all(m.isfile() and (m.mtime, m.uid, m.uname, m.mode) == (0, 0, "", 0o644) for m in members)
    assert members[0].name.removesuffix(".rgb.png") == members[1].name.removesuffix(".sar.png")
