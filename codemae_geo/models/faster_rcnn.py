"""Faster R-CNN as CoDe-MAE publishes it: mmdetection's, on the pyramid of a HiViT backbone, without a neck.

Source: the detection form of CoDe-MAE (arXiv 2604.16952), a configuration of mmdetection 3.3. Parameter names and
shapes are those of its checkpoints, so that these load strictly. torchvision gives the operators (RoIAlign, batched
non-maximum suppression) and is imported when they are first needed; what differs from torchvision's own detector is
written out here:

* base anchors are not rounded, and the coarsest level is a floor-pooled grid (800 pixels give 12 x 12 cells);
* an object whose best anchor overlaps it by less than 0.3 gets no anchor at all;
* the proposal loss on boxes is plain L1; both proposal losses are divided by all samples;
* RoIAlign is aligned, with as many samples a cell as it needs;
* the head has the background **last** and no box for it; its box loss is GIoU x 10 on decoded boxes, divided by all
  regions;
* images are padded with zeros, after normalisation, to a multiple of 32.

One pass (B images)::

    image [B, 3, H, W] -> pyramid of strides 4, 8, 16, 32, 64 (average pools after 16)
    proposal network   -> 3 scores and 12 deltas a cell -> per image the best boxes
    RoIAlign 7 x 7 of strides 4 to 32 -> four convolutions, one linear layer -> classes and a box for each class
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codemae_geo.errors import ModelError
from codemae_geo.models.encoder import TOKENIZER, Sensor, encoder_config
from codemae_geo.models.hivit import HiViT, Modality

STRIDES = (4, 8, 16, 32, 64)
#: an anchor is a square of this many strides, and the same area at these ratios of height to width
ANCHOR_SCALE = 8
RATIOS = (0.5, 1.0, 2.0)
#: images are padded to a multiple of it
PAD = 32
#: side in cells of what is cut out of the pyramid for a region
ROI = 7
#: deltas of the head are multiplied by these to become shifts (in box sides) and logarithms of scales
HEAD_STD = (0.1, 0.1, 0.2, 0.2)
#: weight of the box loss of the head
BOX_WEIGHT = 10.0
#: boxes grow or shrink in one decoding by this factor at most
_MAX_LOG_RATIO = abs(math.log(16 / 1000))


def load_torchvision() -> Any:
    """The module torchvision.

    Raises:
        ModelError: it is not installed, or does not fit the torch that is.
    """
    try:
        import torchvision
    except (ImportError, RuntimeError) as error:
        raise ModelError(
            "object detection needs torchvision", found=str(error), hint="pip install 'codemae-geo[detection]'"
        ) from error
    return torchvision


class Assignment(NamedTuple):
    """What each box is compared with."""

    which: Tensor  #: [N] int64: -1 ignored, 0 background, k the (k - 1)-th object
    overlap: Tensor  #: [N], with the object that overlaps most


class Detections(NamedTuple):
    """Objects of one image, best first."""

    boxes: Tensor  #: [N, 4] (left, top, right, bottom) in pixels
    scores: Tensor  #: [N]
    labels: Tensor  #: [N] int64, from 0


# ---------------------------------------------------------------- boxes


def fitting(height: int, width: int, fit: tuple[int, int]) -> tuple[int, int]:
    """Height and width of an image that is resized to fit into (long, short) sides, the ratio kept."""
    factor = min(max(fit) / max(height, width), min(fit) / min(height, width))
    return max(int(height * factor + 0.5), 1), max(int(width * factor + 0.5), 1)


def base_anchors(stride: int) -> Tensor:
    """The anchors around a cell's corner at (0, 0): [3, 4], ratios 0.5, 1, 2."""
    side = float(stride * ANCHOR_SCALE)
    ratio = torch.tensor(RATIOS).sqrt()
    half = torch.stack([side / ratio, side * ratio], dim=1) / 2  # half width, half height
    return torch.cat([-half, half], dim=1)


def anchors(size: tuple[int, int], stride: int, device: torch.device | None = None) -> Tensor:
    """All anchors of a level [rows * columns * 3, 4], ordered by row, column and ratio; the first cell is at (0, 0)."""
    rows, columns = (torch.arange(n, device=device, dtype=torch.float32) * stride for n in size)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    shift = torch.stack([x, y, x, y], dim=-1).reshape(-1, 1, 4)
    return (shift + base_anchors(stride).to(shift.device)).reshape(-1, 4)


def encode_boxes(boxes: Tensor, targets: Tensor, std: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> Tensor:
    """The deltas that turn ``boxes`` [N, 4] into ``targets`` [N, 4]: shifts in sides of the box, logs of the scales."""
    size, wanted = boxes[:, 2:] - boxes[:, :2], targets[:, 2:] - targets[:, :2]
    shift = ((targets[:, :2] + targets[:, 2:]) - (boxes[:, :2] + boxes[:, 2:])) / 2 / size
    return torch.cat([shift, (wanted / size).log()], dim=1) / boxes.new_tensor(std)


def decode_boxes(
    boxes: Tensor,
    deltas: Tensor,
    std: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Boxes moved by deltas.

    Args:
        boxes: [N, 4].
        deltas: [N, 4 * K].
        std: what deltas are multiplied by.
        size: height and width of the image that the result is clipped to; None does not clip.

    Returns:
        [N, 4 * K].
    """
    deltas = deltas.reshape(len(boxes), deltas.shape[-1] // 4, 4) * deltas.new_tensor(std)
    centre = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    sides = boxes[:, None, 2:] - boxes[:, None, :2]
    centre = centre + sides * deltas[..., :2]
    half = sides * deltas[..., 2:].clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO).exp() / 2
    result = torch.cat([centre - half, centre + half], dim=-1)
    if size is not None:
        result = clip_boxes(result, size)
    return result.flatten(1)


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes [..., 4] cut to an image of ``size`` (height, width)."""
    limit = boxes.new_tensor([size[1], size[0], size[1], size[0]])
    return torch.minimum(boxes.clamp(min=0), limit)


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Intersection and union of boxes [..., 4], which broadcast; the union is at least 1e-6."""
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    intersection = sides[..., 0] * sides[..., 1]
    areas = [(x[..., 2] - x[..., 0]) * (x[..., 3] - x[..., 1]) for x in (a, b)]
    return intersection, (areas[0] + areas[1] - intersection).clamp(min=1e-6)


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Overlap of every box of ``a`` [N, 4] with every one of ``b`` [M, 4]: [N, M]."""
    intersection, union = _overlap(a[:, None], b[None])
    return intersection / union


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised overlap of boxes [N, 4] row by row, in (-1, 1] (Rezatofighi et al., CVPR 2019): [N]."""
    intersection, union = _overlap(a, b)
    sides = (torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])).clamp(min=0)
    hull = (sides[:, 0] * sides[:, 1]).clamp(min=1e-6)
    return intersection / union - (hull - union) / hull


def assign(
    boxes: Tensor, objects: Tensor, positive: float, negative: float, best_anchor: float | None = None
) -> Assignment:
    """Which object each box stands for.

    Args:
        boxes: [N, 4] anchors or proposals.
        objects: [M, 4].
        positive: a box that overlaps an object by so much stands for it.
        negative: a box that overlaps all objects by less is background; between the two it is ignored.
        best_anchor: then every object also gets the boxes that overlap it most, if that is at least so much, a later
            object taking them from an earlier one. None leaves this rule out.
    """
    if not len(objects) or not len(boxes):
        return Assignment(boxes.new_zeros(len(boxes), dtype=torch.int64), boxes.new_zeros(len(boxes)))
    overlaps = pairwise_iou(objects, boxes)  # [M, N]
    best, which = overlaps.max(dim=0)
    index = torch.full_like(which, -1)
    index[best < negative] = 0
    index = torch.where(best >= positive, which + 1, index)
    if best_anchor is not None:
        highest = overlaps.max(dim=1).values
        for k in (highest >= best_anchor).nonzero().flatten().tolist():
            index[overlaps[k] == highest[k]] = k + 1
    return Assignment(index, best)


def sample(
    index: Tensor, count: int, positive_share: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Random boxes to learn from: numbers of boxes of objects (at most a share of ``count``), and of background."""
    found, background = (index > 0).nonzero().flatten(), (index == 0).nonzero().flatten()
    found = _some(found, int(count * positive_share), generator)
    return found, _some(background, count - len(found), generator)


def _some(numbers: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    if len(numbers) <= count:
        return numbers
    return numbers[torch.randperm(len(numbers), generator=generator)[:count].to(numbers.device)]


# ---------------------------------------------------------------- proposals


class ProposalHead(nn.Module):
    """Scores and deltas of the anchors of every level; names as in the checkpoints.

    Args:
        dim: channels of the levels.
        hidden: channels of its convolution; None is ``dim``.
    """

    def __init__(self, dim: int, hidden: int | None = None) -> None:
        super().__init__()
        hidden = hidden or dim
        self.rpn_conv = nn.Conv2d(dim, hidden, 3, padding=1)
        self.rpn_cls = nn.Conv2d(hidden, len(RATIOS), 1)
        self.rpn_reg = nn.Conv2d(hidden, 4 * len(RATIOS), 1)
        for name, value in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(value)
            else:
                nn.init.normal_(value, std=0.01)

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps [B, C, h, w] -> scores before the sigmoid [B, 3, h, w], and deltas [B, 12, h, w], of each level."""
        hidden = [F.relu(self.rpn_conv(level)) for level in levels]
        return [self.rpn_cls(x) for x in hidden], [self.rpn_reg(x) for x in hidden]


def flatten_scores(maps: Tensor) -> Tensor:
    """[B, 3 * k, h, w] -> [B, h * w * 3, k], in the order of :func:`anchors`."""
    b, c, height, width = maps.shape
    return maps.permute(0, 2, 3, 1).reshape(b, height * width * len(RATIOS), c // len(RATIOS))


def propose(
    scores: Sequence[Tensor],
    deltas: Sequence[Tensor],
    level_anchors: Sequence[Tensor],
    size: tuple[int, int],
    before: int = 1000,
    keep: int = 1000,
    iou: float = 0.7,
) -> tuple[Tensor, Tensor]:
    """The best regions of one image.

    Args:
        scores, deltas: of each level, flat, [N] and [N, 4].
        level_anchors: of each level, [N, 4].
        size: height and width of the image without its padding.
        before: boxes of each level that are looked at.
        keep: regions in all.
        iou: of two regions of one level that overlap more, the lower one goes.

    Returns:
        boxes [M, 4] and scores [M], best first.
    """
    boxes, marks, levels = [], [], []
    for number, (score, delta, anchor) in enumerate(zip(scores, deltas, level_anchors, strict=True)):
        score, best = score.sigmoid().topk(min(before, len(score)))
        boxes.append(decode_boxes(anchor[best], delta[best], size=size))
        marks.append(score)
        levels.append(torch.full_like(best, number))
    box, mark, level = torch.cat(boxes), torch.cat(marks), torch.cat(levels)
    whole = ((box[:, 2] > box[:, 0]) & (box[:, 3] > box[:, 1])).nonzero().flatten()
    box, mark, level = box[whole], mark[whole], level[whole]
    kept = load_torchvision().ops.batched_nms(box, mark, level, iou)[:keep]
    return box[kept], mark[kept]


def proposal_losses(
    scores: Tensor, deltas: Tensor, all_anchors: Tensor, samples: Sequence[tuple[tuple[Tensor, Tensor], Tensor]]
) -> tuple[Tensor, Tensor]:
    """Losses of the proposal network, both divided by the number of all samples.

    Args:
        scores, deltas: [B, N], [B, N, 4].
        all_anchors: [N, 4].
        samples: of each image ``((positives, their objects), negatives)``: numbers of anchors [P], their objects
            [P, 4], and numbers of anchors of the background.

    Returns:
        cross-entropy of the scores, L1 of the deltas.
    """
    classes, boxes, count = scores.new_zeros(()), scores.new_zeros(()), 0
    for i, ((positive, wanted), negative) in enumerate(samples):
        chosen = torch.cat([positive, negative])
        truth = torch.zeros_like(scores[i, chosen])
        truth[: len(positive)] = 1
        classes = classes + F.binary_cross_entropy_with_logits(scores[i, chosen], truth, reduction="sum")
        target = encode_boxes(all_anchors[positive], wanted)
        boxes = boxes + (deltas[i, positive] - target).abs().sum()
        count += len(chosen)
    return classes / max(count, 1), boxes / max(count, 1)


# ---------------------------------------------------------------- regions


def region_levels(boxes: Tensor, levels: int = 4) -> Tensor:
    """Which level a region [N, 4] is cut out of: stride 4 below a side of 112 pixels, each doubling one coarser."""
    side = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).sqrt()
    return (side / 56 + 1e-6).log2().floor().clamp(0, levels - 1).long()


def cut_regions(levels: Sequence[Tensor], regions: Sequence[Tensor]) -> Tensor:
    """RoIAlign 7 x 7, aligned, with adaptive sampling.

    Args:
        levels: maps [B, C, h, w] of strides 4, 8, 16, 32.
        regions: of each image, [N, 4].

    Returns:
        [sum of N, C, 7, 7], image by image.
    """
    roi_align = load_torchvision().ops.roi_align
    rows = torch.cat([F.pad(box, (1, 0), value=float(i)) for i, box in enumerate(regions)])
    level = region_levels(rows[:, 1:], len(levels))
    result = levels[0].new_zeros(len(rows), levels[0].shape[1], ROI, ROI)
    for number, (maps, stride) in enumerate(zip(levels, STRIDES, strict=False)):
        here = (level == number).nonzero().flatten()
        if len(here):
            cut = roi_align(maps, rows[here], ROI, 1 / stride, sampling_ratio=-1, aligned=True)
            result = result.index_copy(0, here, cut)
    return result


class _Unit(nn.Module):
    """3x3 convolution without bias, batch norm, ReLU; names as in the checkpoints."""

    def __init__(self, in_dim: int, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_dim, dim, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(dim)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class BoxHead(nn.Module):
    """Four convolution units, one linear layer, classes and boxes: [N, C, 7, 7] -> [N, K + 1] and [N, 4 * K].

    The background is the last class and has no box.
    """

    def __init__(self, dim: int, num_classes: int, conv_dim: int = 256, hidden: int = 1024) -> None:
        super().__init__()
        self.shared_convs = nn.ModuleList(_Unit(dim if i == 0 else conv_dim, conv_dim) for i in range(4))
        shared = nn.Linear(conv_dim * ROI * ROI, hidden)
        self.shared_fcs = nn.ModuleList([shared])
        self.fc_cls = nn.Linear(hidden, num_classes + 1)
        self.fc_reg = nn.Linear(hidden, 4 * num_classes)
        nn.init.xavier_uniform_(shared.weight)
        nn.init.normal_(self.fc_cls.weight, std=0.01)
        nn.init.normal_(self.fc_reg.weight, std=0.001)
        for layer in (shared, self.fc_cls, self.fc_reg):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for unit in self.shared_convs:
            x = unit(x)
        x = F.relu(self.shared_fcs[0](x.flatten(1)))
        return self.fc_cls(x), self.fc_reg(x)


def head_losses(
    logits: Tensor, deltas: Tensor, regions: Tensor, labels: Tensor, objects: Tensor
) -> tuple[Tensor, Tensor]:
    """Losses of the head over N regions.

    Args:
        logits: [N, K + 1], background last.
        deltas: [N, 4 * K].
        regions: [N, 4].
        labels: [N], K for background.
        objects: [N, 4]; rows of background regions are not looked at.

    Returns:
        cross-entropy, the mean over regions; GIoU loss x 10 of decoded boxes of objects, divided by **all** regions.
    """
    classes = F.cross_entropy(logits, labels) if len(labels) else logits.sum() * 0
    found = labels < logits.shape[1] - 1
    chosen = deltas.reshape(len(deltas), deltas.shape[-1] // 4, 4)[found, labels[found]]
    loss = (1 - giou(decode_boxes(regions[found], chosen, HEAD_STD), objects[found])).sum()
    return classes, BOX_WEIGHT * loss / max(len(labels), 1)


def select_detections(
    logits: Tensor,
    deltas: Tensor,
    regions: Tensor,
    size: tuple[int, int],
    min_score: float = 0.05,
    iou: float = 0.5,
    keep: int = 100,
) -> Detections:
    """Objects of one image from what the head says of its regions.

    Args:
        logits, deltas, regions: [N, K + 1], [N, 4 * K], [N, 4].
        size: height and width of the image, which boxes are clipped to.
        min_score: objects need a higher score.
        iou: of two objects of one class that overlap more, the lower one goes.
        keep: objects at most.
    """
    scores = logits.softmax(dim=1)[:, :-1]  # [N, K]
    boxes = decode_boxes(regions, deltas, HEAD_STD, size).reshape(*scores.shape, 4)
    which, label = (scores > min_score).nonzero(as_tuple=True)
    box, score = boxes[which, label], scores[which, label]
    kept = load_torchvision().ops.batched_nms(box, score, label, iou)[:keep]
    return Detections(box[kept], score[kept], label[kept])


# ---------------------------------------------------------------- model


class _RoIHead(nn.Module):
    """Holds the box head under its name in the checkpoints."""

    def __init__(self, bbox_head: BoxHead) -> None:
        super().__init__()
        self.bbox_head = bbox_head


class FasterRCNN(nn.Module):
    """The published detector.

    Args:
        encoder: "tiny", "small", "base", "large", or keyword arguments of :class:`HiViT` (``variant`` may name a size).
            Norms have eps 1e-5 and the coarse levels are average pools unless it says otherwise.
        num_classes: kinds of objects K, without background.
        sensor: "optical" or "sar"; only that tokenizer is built.
        head_dim, head_hidden: width of the box head's convolutions and of its linear layer.
        min_score, nms_iou, max_boxes: see :func:`select_detections`; published 0.05, 0.5, 100.
        proposals: regions of an image that are kept, published 1000.
        nms_before: anchors of each level that are looked at, published 1000, and 2000 in training.
        learnt: regions of an image that the head learns from, published 512.
        fit: (long, short) sides that images are resized to fit into before objects are looked for, the ratio kept, as
            SARDet-100K's test images are (1333, 800); boxes are in pixels of the image as it came. None: as it is.

    Raises:
        ModelError: torchvision is missing, or the configuration cannot be built.
    """

    def __init__(
        self,
        encoder: str | Mapping[str, Any] = "base",
        num_classes: int = 1,
        sensor: Sensor = "optical",
        head_dim: int = 256,
        head_hidden: int = 1024,
        min_score: float = 0.05,
        nms_iou: float = 0.5,
        max_boxes: int = 100,
        proposals: int = 1000,
        nms_before: int = 1000,
        learnt: int = 512,
        fit: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        load_torchvision()
        if num_classes < 1:
            raise ModelError("a detector needs classes", found=f"num_classes={num_classes}", expected="1 or more")
        if sensor not in TOKENIZER:
            raise ModelError("unknown sensor family", found=repr(sensor), expected="'optical' or 'sar'")
        self.modality: Modality = TOKENIZER[sensor]
        defaults: dict[str, Any] = {"modality": self.modality, "layernorm_eps": 1e-5, "extra_levels": "avg"}
        self.backbone = HiViT(**(defaults | encoder_config(encoder) | {"num_outs": 5}))
        width = int(self.backbone.feature_info[0]["num_chs"])
        self.rpn_head = ProposalHead(width)
        self.roi_head = _RoIHead(BoxHead(width, num_classes, head_dim, head_hidden))
        self.num_classes = num_classes
        self.min_score, self.nms_iou, self.max_boxes = min_score, nms_iou, max_boxes
        self.proposals, self.nms_before = proposals, nms_before
        self.learnt = learnt
        self.fit = None if fit is None else (max(fit), min(fit))

    def forward(
        self,
        image: Tensor,
        targets: Sequence[Mapping[str, Tensor]] | None = None,
        sizes: Sequence[tuple[int, int]] | None = None,
        generator: torch.Generator | None = None,
    ) -> list[dict[str, Tensor]] | dict[str, Tensor]:
        """Detect objects, or in training mode compare with ``targets``.

        Args:
            image: [B, 3, H, W], normalised, any size.
            targets: for each image ``boxes`` [N, 4] as (left, top, right, bottom) in pixels and ``labels`` [N] from 1.
            sizes: height and width of each image, where they have been padded with zeros to one size; None: all of it.
                Images with ``sizes``, and in training, are not resized.
            generator: of the sampling in training, on the CPU.

        Returns:
            for each image ``boxes`` [N, 4], ``labels`` [N] from 1 and ``scores`` [N], best first; in training mode the
            losses ``objectness``, ``proposal``, ``classes`` and ``boxes``.

        Raises:
            ModelError: training mode without targets.
        """
        if self.training and targets is None:
            raise ModelError("a detector in training mode needs targets")
        if self.fit is not None and not self.training and sizes is None:
            return self._fitted(image, self.fit)
        sizes = list(sizes) if sizes is not None else [(image.shape[-2], image.shape[-1])] * len(image)
        short = [max(STRIDES[-1] - n, 0) for n in image.shape[-2:]]  # the coarsest map has a cell at least
        levels = self.levels(F.pad(image, (0, short[1], 0, short[0])) if any(short) else image)
        scores, deltas = self.rpn_head(levels)
        # boxes are numbers in the hundreds with fractions: half precision would shift them by pixels
        with torch.autocast(image.device.type, enabled=False):
            levels = [level.float() for level in levels]
            flat_scores = [flatten_scores(x.float())[..., 0] for x in scores]
            flat_deltas = [flatten_scores(x.float()) for x in deltas]
            places = [
                anchors((x.shape[-2], x.shape[-1]), stride, x.device) for x, stride in zip(levels, STRIDES, strict=True)
            ]
            regions = self._regions(flat_scores, flat_deltas, places, sizes)
            if not self.training or targets is None:
                return self._detect(levels, regions, sizes)
            all_anchors = torch.cat(places)
            samples = []
            for target in targets:
                index = assign(all_anchors, target["boxes"], 0.7, 0.3, best_anchor=0.3).which
                positive, negative = sample(index, 256, 0.5, generator)
                samples.append(((positive, target["boxes"][index[positive] - 1]), negative))
            objectness, proposal = proposal_losses(
                torch.cat(flat_scores, dim=1), torch.cat(flat_deltas, dim=1), all_anchors, samples
            )
            chosen, labels, objects = self._training_regions(regions, targets, generator)
            cut = cut_regions(levels[:4], chosen)
        logits, moves = (x.float() for x in self.roi_head.bbox_head(cut))
        with torch.autocast(image.device.type, enabled=False):
            classes, boxes = head_losses(logits, moves, torch.cat(chosen), labels, objects)
        return {"objectness": objectness, "proposal": proposal, "classes": classes, "boxes": boxes}

    def _fitted(self, image: Tensor, fit: tuple[int, int]) -> list[dict[str, Tensor]]:
        """Objects of images that are resized first."""
        height, width = image.shape[-2:]
        size = fitting(height, width, fit)
        resized = F.interpolate(image, size=size, mode="bilinear", align_corners=False)
        found = self.forward(resized, sizes=[size] * len(image))
        assert isinstance(found, list)
        back = image.new_tensor([width / size[1], height / size[0]] * 2, dtype=torch.float32)
        return [answer | {"boxes": answer["boxes"] * back} for answer in found]

    def levels(self, image: Tensor) -> list[Tensor]:
        """The five maps of an image [B, 3, H, W] of 64 pixels at least, padded with zeros to a multiple of 32."""
        right, bottom = -image.shape[-1] % PAD, -image.shape[-2] % PAD
        padded = F.pad(image, (0, right, 0, bottom)) if right or bottom else image
        return self.backbone.forward_pyramid(padded, self.modality)

    @torch.no_grad()
    def _regions(
        self,
        scores: Sequence[Tensor],
        deltas: Sequence[Tensor],
        places: Sequence[Tensor],
        sizes: Sequence[tuple[int, int]],
    ) -> list[Tensor]:
        before = 2 * self.nms_before if self.training else self.nms_before
        return [
            propose([s[i] for s in scores], [d[i] for d in deltas], places, size, before, self.proposals)[0]
            for i, size in enumerate(sizes)
        ]

    def _training_regions(
        self, regions: Sequence[Tensor], targets: Sequence[Mapping[str, Tensor]], generator: torch.Generator | None
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """``learnt`` regions an image, objects among them: regions, labels (K for background), objects."""
        chosen, labels, objects = [], [], []
        for region, target in zip(regions, targets, strict=True):
            region = torch.cat([target["boxes"].to(region.dtype), region])
            index = assign(region, target["boxes"], 0.5, 0.5).which
            positive, negative = sample(index, self.learnt, 0.25, generator)
            chosen.append(region[torch.cat([positive, negative])])
            of_objects = index[positive] - 1
            labels.append(target["labels"][of_objects].long() - 1)
            labels.append(torch.full_like(negative, self.num_classes))
            objects.append(target["boxes"][of_objects].to(region.dtype))
            objects.append(region.new_zeros(len(negative), 4))
        return chosen, torch.cat(labels), torch.cat(objects)

    def _detect(
        self, levels: Sequence[Tensor], regions: Sequence[Tensor], sizes: Sequence[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        logits, deltas = self.roi_head.bbox_head(cut_regions(levels[:4], regions))
        counts = [len(r) for r in regions]
        result = []
        for region, logit, delta, size in zip(
            regions, logits.float().split(counts), deltas.float().split(counts), sizes, strict=True
        ):
            found = select_detections(logit, delta, region, size, self.min_score, self.nms_iou, self.max_boxes)
            result.append({"boxes": found.boxes, "labels": found.labels + 1, "scores": found.scores})
        return result
