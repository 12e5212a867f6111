"""Crops and flips against slicing and torch's own resizing."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from codemae_datasets.pairs import Statistics
from codemae_datasets.samplers import seeded
from codemae_datasets.transforms import PairTransform, crop_resize, draw_boxes

STATISTICS = Statistics(
    rgb=[((0.5, 0.4, 0.3), (0.2, 0.3, 0.4)), ((0.1, 0.1, 0.1), (1, 1, 1))], sar=[((0.2,) * 3, (0.5,) * 3)] * 2
)


def batch(paired: bool = True, rows: int = 6) -> dict[str, Any]:
    image = torch.randint(0, 256, (rows, 3, 40, 48), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    sizes = torch.tensor([[40, 48]] * rows)
    dataset = torch.arange(rows) % 2
    return {"rgb": image, "sar": image, "rgb_size": sizes, "sar_size": sizes, "dataset": dataset, "paired": paired}


def test_the_whole_image_comes_back_and_is_normalised_per_dataset() -> None:
    image = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    sizes = torch.tensor([[32, 32]] * 2)
    whole = {
        "rgb": image,
        "sar": image,
        "rgb_size": sizes,
        "sar_size": sizes,
        "dataset": torch.tensor([0, 1]),
        "paired": True,
    }
    views = PairTransform(STATISTICS, 32, augment=False)(whole)
    assert torch.allclose(views.rgb_01, image / 255, atol=1e-5)
    first = (views.rgb_01[0] - torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1)) / torch.tensor([0.2, 0.3, 0.4]).view(
        3, 1, 1
    )
    assert torch.allclose(views.rgb[0], first, atol=1e-5)
    assert torch.allclose(views.rgb[1], views.rgb_01[1] - 0.1, atol=1e-5)
    assert torch.allclose(views.sar, (views.sar_01 - 0.2) / 0.5, atol=1e-5)


def test_a_crop_is_what_bicubic_resizing_of_the_slice_gives() -> None:
    image = torch.rand(2, 3, 40, 48)
    boxes = torch.tensor([[5.0, 7.0, 20.0, 24.0], [0.0, 0.0, 48.0, 40.0]])
    found = crop_resize(image, boxes, torch.tensor([False, True]), 36)
    sliced = F.interpolate(image[:1, :, 7:31, 5:25], size=(36, 36), mode="bicubic", align_corners=False)
    assert torch.allclose(found[:1, :, 4:-4, 4:-4], sliced[..., 4:-4, 4:-4], atol=1e-4)  # the slice has no surroundings
    whole = F.interpolate(image[1:], size=(36, 36), mode="bicubic", align_corners=False)
    assert torch.allclose(found[1:], whole.flip(-1), atol=1e-4)


def test_boxes_are_as_asked() -> None:
    sizes = torch.tensor([[100, 140], [37, 30], [64, 64], [20, 200]]).repeat(200, 1)
    left, top, width, height = draw_boxes(sizes, seeded(3)).unbind(1)
    rows, cols = sizes.unbind(1)
    assert (left >= 0).all() and (top >= 0).all() and (left + width <= cols).all() and (top + height <= rows).all()
    share, aspect = width * height / (rows * cols), width / height
    square = sizes[:, 0] == 64
    assert share[square].min() > 0.17 and share[square].max() <= 1
    assert aspect[square].min() > 0.7 and aspect[square].max() < 1.4
    assert 0.5 < share[square].mean() < 0.65


def test_a_pair_gets_one_draw_and_unpaired_images_one_each() -> None:
    transform = PairTransform(STATISTICS, 32)
    views = transform(batch(), seeded(1))
    assert torch.equal(views.rgb_01, views.sar_01)
    apart = transform(batch(paired=False), seeded(1))
    assert torch.equal(apart.rgb_01, views.rgb_01) and not torch.equal(apart.rgb_01, apart.sar_01)


def test_ranks_draw_what_one_process_would() -> None:
    transform = PairTransform(STATISTICS, 32)
    whole = transform(batch(paired=False), seeded(1))
    for rank in range(2):
        rows = slice(rank * 3, rank * 3 + 3)
        part = {k: v if isinstance(v, bool) else v[rows] for k, v in batch(paired=False).items()}
        views = transform(part, seeded(1), rank, 2)
        assert torch.allclose(views.rgb, whole.rgb[rows], atol=1e-5)
        assert torch.allclose(views.sar, whole.sar[rows], atol=1e-5)
