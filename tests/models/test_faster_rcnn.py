"""Parity of the detector with ``shared/reference`` section 9, from anchors to the boxes of whole images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from codemae_geo.errors import ModelError
from codemae_geo.models import build
from codemae_geo.models.faster_rcnn import (
    STRIDES,
    BoxHead,
    FasterRCNN,
    ProposalHead,
    anchors,
    assign,
    cut_regions,
    decode_boxes,
    encode_boxes,
    flatten_scores,
    giou,
    head_losses,
    proposal_losses,
    propose,
    region_levels,
    sample,
    select_detections,
)

ENCODER = {
    "embed_dim": 64,
    "mlp_depth1": 1,
    "mlp_depth2": 2,
    "depth": 4,
    "num_heads": 4,
    "fpn_dim": 32,
}
TINY: dict[str, Any] = {"encoder": ENCODER, "num_classes": 3, "head_dim": 16, "head_hidden": 48, "sensor": "sar"}
SIZE = (128, 192)


@pytest.fixture(scope="module")
def data(shared: Path) -> dict[str, Tensor]:
    return load_file(shared / "reference" / "detection_tiny.safetensors")


@pytest.fixture(scope="module")
def listed(shared: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shared / "reference" / "detection_tiny.json").read_text())
    return found


@pytest.fixture(scope="module")
def places(data: dict[str, Tensor]) -> list[Tensor]:
    shapes = [data[f"feature.level{i}"].shape for i in range(5)]
    return [anchors((s[2], s[3]), stride) for s, stride in zip(shapes, STRIDES, strict=True)]


@pytest.fixture(scope="module")
def rpn(data: dict[str, Tensor]) -> ProposalHead:
    head = ProposalHead(16)
    prefix = "weights.rpn_head."
    head.load_state_dict({k.removeprefix(prefix): v for k, v in data.items() if k.startswith(prefix)})
    return head


@pytest.fixture
def head(data: dict[str, Tensor]) -> BoxHead:
    head = BoxHead(16, 3, 16, 48)
    prefix = "weights.bbox_head."
    state = {k.removeprefix(prefix): v for k, v in data.items() if k.startswith(prefix)}
    counters = {k: v for k, v in head.state_dict().items() if k.endswith("num_batches_tracked")}
    head.load_state_dict(state | counters)
    return head


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Within 1e-4 of the expected tensor's largest magnitude."""
    assert found.shape == expected.shape
    error = (found - expected).abs().max() / expected.abs().max()
    assert error < 1e-4, f"relative error {error:.2e}"


@pytest.mark.parametrize(("name", "classes", "count"), [("dior", 20, 97_456_884), ("sardet100k", 6, 97_385_134)])
def test_keys(shared: Path, name: str, classes: int, count: int) -> None:
    expected = json.loads((shared / "reference" / f"keys_detection_fasterrcnn_base_{name}.json").read_text())
    with torch.device("meta"):
        sensor = "optical" if name == "dior" else "sar"
        model = build("faster-rcnn", {"encoder": "base", "num_classes": classes, "sensor": sensor})
    found = {k: tuple(v.shape) for k, v in model.state_dict().items()}
    assert found == {k: tuple(shape) for k, (shape, _) in expected["state_dict"].items()}
    assert sum(p.numel() for p in model.parameters()) == count == expected["total_params"]


def test_anchors(data: dict[str, Tensor], listed: dict[str, Any], places: list[Tensor]) -> None:
    for level, found in enumerate(places):
        assert torch.allclose(found, data[f"anchors.level{level}"], atol=1e-4)
    whole = listed["anchors_800x800"]
    for size, stride, total in zip(whole["feature_sizes"], STRIDES, whole["sum_abs_float64"], strict=True):
        found = anchors(tuple(size), stride)
        assert float(found.double().abs().sum()) == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize(("kind", "std"), [("rpn", (1.0, 1.0, 1.0, 1.0)), ("head", (0.1, 0.1, 0.2, 0.2))])
def test_coder(data: dict[str, Tensor], kind: str, std: tuple[float, ...]) -> None:
    boxes, deltas = data["coder.boxes"], data[f"coder.{kind}.deltas"]
    assert_close(encode_boxes(boxes, data["coder.targets"], std), data[f"coder.{kind}.encoded"])
    assert_close(decode_boxes(boxes, deltas, std), data[f"coder.{kind}.decoded_no_clip"])
    assert_close(decode_boxes(boxes, deltas, std, SIZE), data[f"coder.{kind}.decoded_clipped"])


def test_giou(data: dict[str, Tensor], listed: dict[str, Any]) -> None:
    predicted = data["giou.pred"].double().requires_grad_()
    values = giou(predicted, data["giou.target"].double())
    expected = data["giou.values"]
    assert_close((values if expected.min() < 0 else 1 - values).detach().float(), expected)
    loss = ((1 - values) * data["giou.weight"].double()[:, 0]).sum() * 10 / listed["giou"]["avg_factor"]
    assert float(loss.detach()) == pytest.approx(listed["giou"]["loss_float64"], rel=1e-6)
    loss.backward()
    assert predicted.grad is not None
    assert_close(predicted.grad.float(), data["giou.grad"])


@pytest.mark.parametrize("image", [0, 1])
def test_assignment(data: dict[str, Tensor], listed: dict[str, Any], places: list[Tensor], image: int) -> None:
    objects = data[f"assign.gt{image}"]
    found = assign(torch.cat(places), objects, 0.7, 0.3, best_anchor=0.3)
    assert torch.equal(found.which, data[f"assign.index{image}"])
    assert torch.allclose(found.overlap, data[f"assign.max_iou{image}"], atol=1e-5)
    expected = listed[f"assign_image{image}"]
    assert [int((found.which == k + 1).sum()) for k in range(len(objects))] == expected["per_gt"]
    without = assign(torch.cat(places), objects, 0.7, 0.3).which
    assert int((without > 0).sum()) == expected["positives_without_low_quality_matching"]


def test_no_objects_means_background_everywhere(places: list[Tensor]) -> None:
    found = assign(torch.cat(places), torch.zeros(0, 4), 0.7, 0.3, best_anchor=0.3)
    assert not found.which.any()


def test_sampling_keeps_the_shares() -> None:
    index = torch.cat([torch.ones(300), torch.zeros(1000), -torch.ones(50)]).long()
    positive, negative = sample(index, 256, 0.5, torch.Generator().manual_seed(0))
    assert (len(positive), len(negative)) == (128, 128)
    assert (index[positive] == 1).all()
    assert (index[negative] == 0).all()
    positive, negative = sample(index[299:], 256, 0.5)
    assert (len(positive), len(negative)) == (1, 255)


def flat(data: dict[str, Tensor], kind: str) -> list[Tensor]:
    return [flatten_scores(data[f"rpn.{kind}.level{i}"]) for i in range(5)]


def test_proposal_network(
    data: dict[str, Tensor], listed: dict[str, Any], rpn: ProposalHead, places: list[Tensor]
) -> None:
    with torch.no_grad():
        maps = rpn([data[f"feature.level{i}"] for i in range(5)])
    for level in range(5):
        assert_close(maps[0][level], data[f"rpn.cls.level{level}"])
        assert_close(maps[1][level], data[f"rpn.reg.level{level}"])
    all_anchors = torch.cat(places).double()
    samples = []
    for image in (0, 1):
        positive, negative = data[f"rpn.sampled_pos{image}"], data[f"rpn.sampled_neg{image}"]
        objects = data[f"assign.gt{image}"].double()[data[f"assign.index{image}"][positive] - 1]
        samples.append(((positive, objects), negative))
    classes, boxes = proposal_losses(
        torch.cat(flat(data, "cls"), dim=1)[..., 0].double(),
        torch.cat(flat(data, "reg"), dim=1).double(),
        all_anchors,
        samples,
    )
    assert float(classes) == pytest.approx(listed["rpn_loss"]["loss_cls_float64"], rel=1e-5)
    assert float(boxes) == pytest.approx(listed["rpn_loss"]["loss_bbox_float64"], rel=1e-5)


@pytest.mark.parametrize("image", [0, 1])
def test_proposals(data: dict[str, Tensor], places: list[Tensor], image: int) -> None:
    scores = [x[image, :, 0] for x in flat(data, "cls")]
    boxes, marks = propose(scores, [x[image] for x in flat(data, "reg")], places, SIZE, 80, 40, 0.7)
    assert_close(boxes, data[f"proposals.boxes{image}"])
    assert_close(marks, data[f"proposals.scores{image}"])


def test_regions(data: dict[str, Tensor], listed: dict[str, Any]) -> None:
    rows = data["roi.rois"]
    assert torch.equal(region_levels(rows[:, 1:]), data["roi.level"])
    for side, level in listed["roi_level_of_square_side"].items():
        assert int(region_levels(torch.tensor([[0, 0, float(side), float(side)]]))) == level
    # the fixture's rows are not sorted by image
    order = rows[:, 0].argsort(stable=True)
    found = cut_regions([data[f"feature.level{i}"] for i in range(4)], [rows[rows[:, 0] == i][:, 1:] for i in range(2)])
    assert_close(found, data["roi.features"][order])


def test_head(data: dict[str, Tensor], listed: dict[str, Any], head: BoxHead) -> None:
    with torch.no_grad():
        logits, deltas = head.eval()(data["roi.features"])
        assert_close(logits, data["head.eval.cls"])
        assert_close(deltas, data["head.eval.reg"])
        logits, deltas = head.train()(data["roi.features"])
        assert_close(logits, data["head.train.cls"])
        assert_close(deltas, data["head.train.reg"])


def test_head_losses_and_gradients(data: dict[str, Tensor], listed: dict[str, Any], head: BoxHead) -> None:
    features = data["roi.features"].double().requires_grad_()
    logits, deltas = head.double().train()(features)
    classes, boxes = head_losses(
        logits, deltas, data["roi.rois"][:, 1:].double(), data["head.labels"], data["head.targets"].double()
    )
    assert float(classes.detach()) == pytest.approx(listed["head_losses_float64"]["loss_cls"], rel=1e-6)
    assert float(boxes.detach()) == pytest.approx(listed["head_losses_float64"]["loss_bbox"], rel=1e-6)
    (classes + boxes).backward()
    norms = listed["head_grad_norms_float64"]
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None
        assert float(parameter.grad.norm()) == pytest.approx(norms[name], rel=1e-4), name
    assert features.grad is not None
    assert float(features.grad.norm()) == pytest.approx(norms["(roi features)"], rel=1e-4)


def test_detections(data: dict[str, Tensor]) -> None:
    here = data["roi.rois"][:, 0] == 0
    logits, deltas, regions = (x[here] for x in (data["head.eval.cls"], data["head.eval.reg"], data["roi.rois"][:, 1:]))
    assert_close(decode_boxes(regions, deltas, (0.1, 0.1, 0.2, 0.2), SIZE), data["post.decoded_image0"])
    found = select_detections(logits, deltas, regions, SIZE, 0.05, 0.5, 20)
    assert_close(torch.cat([found.boxes, found.scores[:, None]], dim=1), data["post.det_image0"])
    assert torch.equal(found.labels, data["post.labels_image0"])


def test_end_to_end(shared: Path) -> None:
    data = load_file(shared / "reference" / "detection_end_to_end_tiny.safetensors")
    model = build("faster-rcnn", TINY | {"proposals": 60, "nms_before": 200}).eval()
    assert isinstance(model, FasterRCNN)
    state = {k.removeprefix("weights."): v for k, v in data.items() if k.startswith("weights.")}
    counters = {k: v for k, v in model.state_dict().items() if k.endswith("num_batches_tracked")}
    model.load_state_dict(state | counters, strict=True)
    with torch.no_grad():
        found = model(data["input"])
    for image in (0, 1):
        assert torch.equal(found[image]["labels"] - 1, data[f"labels{image}"])
        assert_close(found[image]["boxes"], data[f"boxes{image}"])
        assert_close(found[image]["scores"], data[f"scores{image}"])


def test_images_are_resized_to_fit_and_boxes_are_of_the_image_as_it_came() -> None:
    torch.manual_seed(0)
    model = build("faster-rcnn", {**TINY, "min_score": 0.0, "fit": [192, 128]}).eval()
    image = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        (found,) = model(image)
        larger = torch.nn.functional.interpolate(image, size=(128, 192), mode="bilinear", align_corners=False)
        (wanted,) = model(larger, sizes=[(128, 192)])
    assert torch.equal(found["scores"], wanted["scores"]) and len(found["scores"])
    assert torch.allclose(found["boxes"] * 2, wanted["boxes"])


def test_a_batch_without_any_object_teaches_background() -> None:
    torch.manual_seed(0)
    model = build("faster-rcnn", TINY).train()
    nothing = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    losses = model(torch.randn(2, 3, 64, 96), [nothing, nothing])
    sum(losses.values()).backward()
    assert losses["boxes"] == losses["proposal"] == 0 and losses["classes"] > 0


def test_an_image_smaller_than_the_coarsest_stride() -> None:
    torch.manual_seed(0)
    model = build("faster-rcnn", {**TINY, "min_score": 0.0}).eval()
    with torch.inference_mode():
        (found,) = model(torch.randn(1, 3, 16, 40))
    assert len(found["boxes"]) and bool((found["boxes"] <= torch.tensor([40.0, 16, 40, 16])).all())


def test_training_losses_and_an_image_without_objects() -> None:
    torch.manual_seed(0)
    model = build("faster-rcnn", TINY).train()
    targets = [
        {"boxes": torch.tensor([[10.0, 12, 40, 50], [60, 20, 90, 44]]), "labels": torch.tensor([1, 3])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    ]
    losses = model(torch.randn(2, 3, 100, 120), targets)
    assert set(losses) == {"objectness", "proposal", "classes", "boxes"}
    sum(losses.values()).backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    missing = [n for n, p in model.named_parameters() if p.grad is None]
    assert not missing
    with pytest.raises(ModelError, match="needs targets"):
        model(torch.randn(1, 3, 64, 64))
