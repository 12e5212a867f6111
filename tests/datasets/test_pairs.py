"""The published layout, statistics, collation and the dealing of batches."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path

import pytest
import torch
from codemae_datasets.ospretrain import OSPretrain, published_statistics
from codemae_datasets.pairs import collate, measure, raise_error
from codemae_datasets.samplers import PairBatchSampler, deal_batches, seeded
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from codemae_geo.errors import InputError


def test_the_layout_is_read_as_published(ospretrain: Path) -> None:
    source = OSPretrain(ospretrain)
    assert source.names == ["DDHR", "EarthMiss", "Unpaired"]
    assert Counter(number for number, _ in source.pairs) == {0: 9, 1: 10}  # the test split of DDHR stays out
    generator = seeded(0)
    assert source.paired_items(generator)[5] == (5, 5)
    items = source.unpaired_items(generator)
    assert len(items) == 9
    sample = source[items[0]]
    assert sample["paired"] is False and sample["dataset"] == 2 and sample["rgb"].shape == (3, 40, 40)
    pair = source[(0, 0)]
    assert torch.equal(pair["sar"][0], 255 - pair["rgb"][0]) and torch.equal(pair["sar"][0], pair["sar"][2])


def test_use_and_exclusion(ospretrain: Path) -> None:
    assert not OSPretrain(ospretrain, use="paired").unpaired_items(seeded(0))
    assert not OSPretrain(ospretrain, use="unpaired").pairs
    assert len(OSPretrain(ospretrain, exclude=["EarthMiss"]).pairs) == 9
    assert len(OSPretrain(ospretrain, exclude_test=[]).pairs) == 22


def test_unpaired_sar_is_drawn_anew_every_epoch(ospretrain: Path) -> None:
    source = OSPretrain(ospretrain)
    first, again, second = (dict(source.unpaired_items(seeded(0, epoch))) for epoch in (0, 0, 1))
    assert first == again != second


def test_shipped_statistics_are_the_published_ones(shared: Path) -> None:
    published = json.loads((shared / "reference" / "normalization_stats.json").read_text())["pretraining"]
    ours = published_statistics()
    assert ours.keys() == published.keys()
    for name, entry in published.items():
        for key in ("rgb", "sar"):
            assert [ours[name][key]["mean"], ours[name][key]["std"]] == entry[key]


def test_statistics_of_a_folder(ospretrain: Path) -> None:
    source = OSPretrain(ospretrain)
    assert source.statistics().rgb.shape == (3, 2, 3)
    measured = measure(source, source.paired_items(seeded(0)), len(source.names))
    pixels = torch.stack([source[(i, i)]["rgb"] for i in range(9)]).double() / 255
    assert torch.allclose(measured.rgb[0, 0].double(), pixels.mean((0, 2, 3)), atol=1e-5)
    assert torch.allclose(measured.rgb[0, 1].double(), pixels.std((0, 2, 3), correction=0), atol=1e-5)
    (ospretrain / "EarthMiss").rename(ospretrain / "Mine")
    with pytest.raises(InputError, match="Mine"):
        OSPretrain(ospretrain).statistics()


def test_bad_folders_and_images(ospretrain: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        OSPretrain(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no images"):
        OSPretrain(tmp_path / "empty")
    (ospretrain / "DDHR" / "RGB" / "0.png").write_bytes(b"not an image")
    Image.new("RGB", (20, 30)).save(ospretrain / "DDHR" / "SAR" / "2.png")
    source = OSPretrain(ospretrain)
    with pytest.raises(InputError, match=r"0\.png does not decode"):
        raise_error(source[(0, 0)])
    with pytest.raises(InputError, match=r"2\.png of DDHR differ in size") as caught:
        raise_error(collate([source[(2, 2)], source[(1, 1)]]))
    assert caught.value.found == "optical 40 x 40, SAR 20 x 30 pixels"
    tolerant = OSPretrain(ospretrain, skip_unreadable=2)
    sample = tolerant[(0, 0)]
    assert "0.png" in sample["unreadable"][0] and sample["rgb"].shape == (3, 40, 40)


def test_sizes_are_padded_by_their_edge() -> None:
    small, large = torch.randint(0, 256, (3, 4, 6), dtype=torch.uint8), torch.zeros(3, 5, 8, dtype=torch.uint8)
    batch = collate([{"rgb": i, "sar": i, "dataset": 0, "paired": True} for i in (small, large)])
    assert batch["rgb"].shape == (2, 3, 5, 8) and batch["rgb_size"].tolist() == [[4, 6], [5, 8]]
    assert torch.equal(batch["rgb"][0, :, :4, :6], small)
    assert torch.equal(batch["rgb"][0, :, 4, 7], small[:, 3, 5])


def test_picklable(ospretrain: Path) -> None:
    source = pickle.loads(pickle.dumps(OSPretrain(ospretrain)))
    assert source[(3, 3)]["rgb"].shape == (3, 40, 40)


@settings(max_examples=60, deadline=None)
@given(
    paired=st.integers(0, 60),
    unpaired=st.integers(0, 60),
    share=st.integers(1, 5),
    world=st.integers(1, 4),
    accumulate=st.integers(1, 3),
    epoch=st.integers(0, 3),
)
def test_every_rank_gets_the_same_number_of_pure_batches(
    paired: int, unpaired: int, share: int, world: int, accumulate: int, epoch: int
) -> None:
    class Source:
        names: list[str] = ["a"]  # noqa: RUF012

        def paired_items(self, generator: torch.Generator) -> list[tuple[str, int]]:
            return [("p", i) for i in range(paired)]

        def unpaired_items(self, generator: torch.Generator) -> list[tuple[str, int]]:
            return [("u", i) for i in range(unpaired)]

        def __getitem__(self, item: object) -> dict[str, object]:
            return {}

    batch = share * world
    too_large = 0 < paired < batch or 0 < unpaired < batch
    if too_large or (paired // batch + unpaired // batch) < accumulate:
        with pytest.raises(InputError):
            PairBatchSampler(Source(), batch, 1, 0, world, accumulate)
        return
    ranks = [PairBatchSampler(Source(), batch, 1, rank, world, accumulate) for rank in range(world)]
    for sampler in ranks:
        sampler.epoch = epoch
    dealt = [list(sampler) for sampler in ranks]
    assert {len(batches) for batches in dealt} == {len(ranks[0])}
    assert len(ranks[0]) % accumulate == 0
    assert all(len(items) == share and len({kind for kind, _ in items}) == 1 for b in dealt for items in b)
    flat = [item for batches in dealt for items in batches for item in items]
    assert len(flat) == len(set(flat))
    one = PairBatchSampler(Source(), batch, 1, 0, 1, accumulate)
    one.epoch = epoch
    together = [[item for items in parts for item in items] for parts in zip(*dealt, strict=True)]
    assert together == list(one)  # what N ranks get is what one process gets
    one.start = len(one) // 2
    assert list(one) == together[len(one) // 2 :]  # and it can be resumed


def test_epochs_differ_and_batches_are_mixed() -> None:
    items = [list(range(i, i + 40)) for i in (0, 100)]
    first, second = (deal_batches(*items, 4, seeded(0, epoch)) for epoch in (0, 1))
    assert first != second
    kinds = [batch[0] >= 100 for batch in first]
    assert kinds != sorted(kinds) and sum(kinds) == 10


def test_a_batch_larger_than_the_data_names_the_way_out() -> None:
    with pytest.raises(InputError, match="larger than the pairs") as caught:
        deal_batches([1, 2], [], 4, seeded(0))
    assert caught.value.hint == "set train.batch=2 or less"
