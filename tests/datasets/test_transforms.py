"""Crops and flips against slicing and torch's own resizing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from codemae_datasets.pairs import Statistics
from codemae_datasets.samplers import seeded
from codemae_datasets.transforms import Augment, PairTransform, crop_resize, draw_boxes, gain, speckle, warp
from torch import Tensor

from codemae_geo.errors import InputError

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


# ---------------------------------------------------------------------------------------------------- samples


def coordinates(rows: int = 6, height: int = 40, width: int = 40) -> dict[str, Tensor]:
    """A batch whose images hold each pixel's column and row, and whose mask holds its number."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.stack([x, y, x + y]).float().expand(rows, -1, -1, -1)
    mask = (y * width + x).expand(rows, -1, -1)
    return {"image": image, "image_sar": image[:, :2], "mask": mask, "valid": torch.ones_like(mask).bool()}


@pytest.mark.parametrize("square", [False, True])
def test_images_and_masks_move_alike(square: bool) -> None:
    batch = coordinates(32)
    out = Augment(24, square=square)(batch, seeded(1))
    x, y = out["image"][:, 0], out["image"][:, 1]
    assert out["mask"].dtype == torch.int64 and out["valid"].dtype == torch.bool and out["valid"].all()
    # a mask's value is the pixel nearest to where the image was interpolated
    inner = (slice(None), slice(1, -1), slice(1, -1))
    assert (out["mask"] % 40 - x)[inner].abs().max() <= 0.5 + 1e-3
    assert (out["mask"] // 40 - y)[inner].abs().max() <= 0.5 + 1e-3
    assert torch.equal(out["image"][:, :2], out["image_sar"])
    assert torch.allclose(x + y, out["image"][:, 2], atol=1e-3)
    area = (x.amax((1, 2)) - x.amin((1, 2))) * (y.amax((1, 2)) - y.amin((1, 2))) / 1600
    assert area.min() < 0.35 < 0.7 < area.max()
    stacked = {"image": torch.stack([batch["image"], batch["image"] * 2], dim=1), "mask": batch["mask"]}
    dates = Augment(24, square=square)(stacked, seeded(1))
    assert torch.allclose(dates["image"][:, 0], out["image"], atol=1e-4)
    assert torch.allclose(dates["image"][:, 1], 2 * out["image"], atol=1e-4)
    assert torch.equal(dates["mask"], out["mask"])


@pytest.mark.parametrize("key", ["depth", "hha", "dem", "height"])
def test_depth_and_elevation_move_with_the_image(key: str) -> None:
    number = torch.arange(36 * 36).reshape(1, 1, 36, 36).float().expand(4, -1, -1, -1)
    batch = {"image": number.clone(), "mask": number[:, 0].long(), key: number.clone()}
    out = Augment(24, square=True)(batch, seeded(1))
    assert torch.equal(out[key], out["mask"][:, None].float())  # nearest: no number that was not there
    erased = Augment(crop=None, flip=False, erase=1.0)(batch, seeded(1))
    assert ((erased[key] == 0) == (erased["image"] == 0)).all() and (erased[key] == 0).sum() > 4
    mixed = Augment(crop=None, flip=False, cutmix=1.0)(batch, seeded(1))
    assert torch.equal(mixed[key], mixed["image"])


def test_the_eight_symmetries_are_exact() -> None:
    image = torch.rand(8, 2, 17, 17)
    whole = torch.tensor([[0.0, 0.0, 17.0, 17.0]] * 8)
    for mode in ("bilinear", "nearest"):
        found = warp(image, whole, torch.arange(8), (17, 17), mode)
        seen = {min(range(8), key=lambda k: float((found[i] - symmetries(image[i])[k]).abs().max())) for i in range(8)}
        assert len(seen) == 8
        for i in range(8):
            assert min(float((found[i] - v).abs().max()) for v in symmetries(image[i])) < 1e-5
    assert torch.allclose(found[0], image[0], atol=1e-6) and torch.allclose(found[4], image[4].flip(2), atol=1e-6)


def symmetries(image: Tensor) -> list[Tensor]:
    """All turns of ``[C, H, W]`` and of its mirror image."""
    return [torch.rot90(v, k, (1, 2)) for v in (image, image.flip(2)) for k in range(4)]


def test_separate_crops_differ_and_keep_their_own_mask() -> None:
    batch = coordinates()
    out = Augment(24, separate=True)(batch, seeded(1))
    assert not torch.equal(out["image"][:, :2], out["image_sar"]) and out["valid_sar"].all()
    assert (out["mask"] % 40 - out["image"][:, 0])[:, 1:-1, 1:-1].abs().max() <= 0.5 + 1e-3


def test_invalid_pixels_do_not_leak_and_stay_invalid() -> None:
    batch = coordinates(16)
    image = torch.full((16, 1, 40, 40), 7.0)
    image[:, :, 10:20, 5:30] = -1e6
    valid = torch.ones(16, 40, 40, dtype=torch.bool)
    valid[:, 10:20, 5:30] = False
    out = Augment(31, square=True)({"image": image, "mask": batch["mask"], "valid": valid}, seeded(2))
    assert torch.allclose(out["image"][:, 0][out["valid"]], torch.tensor(7.0), atol=1e-3)
    assert not out["image"][:, 0][~out["valid"]].any() and (~out["valid"]).any()
    lost = ~valid[0].flatten()[out["mask"]]
    assert torch.equal(lost, ~out["valid"])


def test_one_generator_fixes_everything_and_the_batch_is_left_alone() -> None:
    batch = coordinates() | {"label": torch.arange(6)}
    kept = {k: v.clone() for k, v in batch.items()}
    augment = Augment(
        20, square=True, brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1, looks=(1, 8), gain_db=3, erase=0.5,
        cutmix=1.0, classes=6,
    )  # fmt: skip
    torch.manual_seed(0)
    first = augment(batch, seeded(1))
    torch.manual_seed(1)
    again = augment(batch, seeded(1))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(augment(batch, seeded(2))["image"], first["image"])
    assert all(torch.equal(batch[k], kept[k]) for k in batch)


def test_colours_change_in_optical_images_only() -> None:
    batch = {"image": torch.rand(8, 3, 16, 16) * 200 + 20, "image_sar": torch.rand(8, 1, 16, 16) * 200}
    still = {"crop": None, "flip": False}
    out = Augment(**still, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1)(batch, seeded(1))
    assert torch.equal(out["image_sar"], batch["image_sar"]) and not torch.allclose(out["image"], batch["image"])
    assert out["image"].min() >= 0 and out["image"].max() <= 255
    change = (out["image"] - batch["image"]).mean((1, 2, 3))
    assert change.unique().numel() == 8  # each image its own
    assert torch.equal(Augment(**still)(batch, seeded(1))["image"], batch["image"])


def test_speckle_has_the_moments_of_its_looks() -> None:
    flat = torch.full((4, 1, 128, 128), 3.0)
    for looks in (1, 4, 16):
        power = speckle(flat, looks, seeded(looks), "power")
        assert float(power.mean()) == pytest.approx(3, rel=0.02)
        assert float(power.var()) == pytest.approx(9 / looks, rel=0.05)
        amplitude = speckle(flat.sqrt(), looks, seeded(looks), "amplitude")
        assert torch.allclose(amplitude.square(), power, rtol=1e-4)
        decibel = speckle(10 * torch.log10(flat), looks, seeded(looks), "db")
        assert torch.allclose(10 ** (decibel / 10), power, rtol=1e-3, atol=1e-4)
    change = torch.tensor([0.0, 3.0, -3.0, 10.0])
    louder = gain(flat, change, "power")[:, 0, 0, 0] / 3
    assert torch.allclose(louder, 10 ** (change / 10), rtol=1e-5)
    batch = {"image": torch.rand(2, 3, 32, 32), "image_sar": torch.full((2, 1, 32, 32), 0.3)}
    out = Augment(crop=None, flip=False, looks=(4, 4), gain_db=1)(batch, seeded(0))
    assert torch.allclose(out["image"], batch["image"], atol=1e-5) and out["image_sar"].std() > 0.05


def test_erased_parts_are_neither_valid_nor_labelled() -> None:
    batch = coordinates(64)
    batch["image"] = batch["image"] + 1
    out = Augment(crop=None, flip=False, erase=0.5)(batch, seeded(3))
    gone = ~out["valid"]
    assert 16 < int(gone.flatten(1).any(1).sum()) < 48
    assert not out["image"][gone[:, None].expand_as(out["image"])].any() and (out["mask"][gone] == 255).all()
    share = gone.flatten(1).float().mean(1)
    assert share.max() < 0.4 and share[share > 0].min() > 0.01


def test_mixing_mixes_labels_as_images() -> None:
    batch = {"image": torch.arange(8.0).reshape(8, 1, 1, 1).expand(8, 3, 32, 32), "label": torch.arange(8)}
    out = Augment(crop=None, flip=False, mixup=0.8, classes=8)(batch, seeded(1))
    assert out["label"].shape == (8, 8) and torch.allclose(out["label"].sum(1), torch.ones(8))
    assert torch.allclose(out["image"][:, 0, 0, 0], out["label"] @ torch.arange(8.0), atol=1e-5)
    assert ((out["label"] > 0.01).sum(1) == 2).any()
    masks = torch.arange(8).reshape(8, 1, 1).expand(8, 32, 32)
    out = Augment(crop=None, flip=False, cutmix=1.0, classes=8)(batch | {"mask": masks, "valid": masks > 2}, seeded(1))
    assert torch.equal(out["mask"] > 2, out["valid"])
    assert torch.equal(out["image"][:, 0].long(), out["mask"] * out["valid"])  # 0 where not valid
    shares = torch.stack([(out["mask"] == k).float().mean((1, 2)) for k in range(8)], dim=1)
    assert torch.allclose(shares, out["label"], atol=1e-5)
    with pytest.raises(InputError, match="cannot mix masks"):
        Augment(crop=None, mixup=1.0)(batch | {"mask": masks}, seeded(0))
    with pytest.raises(InputError, match="number of classes"):
        Augment(crop=None, mixup=1.0)(batch, seeded(0))


def test_what_does_not_fit_says_so() -> None:
    with pytest.raises(InputError, match="exclude each other"):
        Augment(mixup=1, cutmix=1)
    with pytest.raises(InputError, match="no image"):
        Augment()({"mask": torch.zeros(1, 2, 2)}, seeded(0))
    with pytest.raises(InputError, match="three channels"):
        Augment(hue=0.1)({"image": torch.rand(1, 4, 8, 8)}, seeded(0))
    with pytest.raises(InputError, match="need a square"):
        Augment(square=True)({"image": torch.rand(1, 3, 8, 9)}, seeded(0))
    with pytest.raises(InputError, match="would not follow"):
        Augment()({"image": torch.rand(1, 3, 8, 8), "bbox_xyxy": [torch.rand(2, 4)]}, seeded(0))
    colours = Augment(crop=None, flip=False, brightness=0.1)
    assert "bbox_xyxy" in colours({"image": torch.rand(1, 3, 8, 8), "bbox_xyxy": [torch.rand(2, 4)]}, seeded(0))
