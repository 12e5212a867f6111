"""Object detection: Faster R-CNN on the pyramid of a HiViT backbone.

Source: the detection form of CoDe-MAE (arXiv 2604.16952): five levels (strides 4 to 64), a region proposal network,
a box head of four convolutions and one linear layer, and a GIoU loss of weight 10 on decoded boxes. The parts after the
backbone are torchvision's, which is imported when a detector is built, not before.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codemae_geo.errors import ModelError
from codemae_geo.models.encoder import TOKENIZER, Sensor, encoder_config
from codemae_geo.models.hivit import HiViT, Modality, pad_to_multiple

#: coarsest stride of the pyramid; sides are padded to a multiple of it
STRIDE = 64
#: anchors are squares of this many strides of their level, and the same areas at these ratios of height to width
ANCHOR_SCALE = 8
RATIOS = (0.5, 1.0, 2.0)
#: side in cells of what is cut out of the pyramid for each proposal
ROI = 7
#: weight of the box loss
BOX_WEIGHT = 10.0


class Detector(nn.Module):
    """Faster R-CNN with a HiViT pyramid.

    Args:
        encoder: "tiny", "small", "base", "large", or keyword arguments of :class:`HiViT` (``variant`` may name a size).
        num_classes: kinds of objects, without background.
        sensor: "optical" or "sar"; only that tokenizer is built unless ``encoder`` says otherwise.
        head_dim, head_hidden: width of the box head's convolutions and of its linear layer.
        min_score: boxes below it are not returned.
        nms_iou: of two boxes of one class that overlap by more than this, the one with the lower score is dropped.
        max_boxes: boxes returned for an image at most.

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
        max_boxes: int = 300,
    ) -> None:
        super().__init__()
        torchvision = load_torchvision()
        detection = torchvision.models.detection
        if num_classes < 1:
            raise ModelError("a detector needs classes", found=f"num_classes={num_classes}", expected="1 or more")
        if sensor not in TOKENIZER:
            raise ModelError("unknown sensor family", found=repr(sensor), expected="'optical' or 'sar'")
        self.modality: Modality = TOKENIZER[sensor]
        self.encoder = HiViT(**({"modality": self.modality} | encoder_config(encoder) | {"num_outs": 5}))
        width = self.encoder.feature_info[0]["num_chs"]
        strides = [int(level["reduction"]) for level in self.encoder.feature_info]
        anchors = detection.anchor_utils.AnchorGenerator(
            sizes=tuple((ANCHOR_SCALE * s,) for s in strides), aspect_ratios=(RATIOS,) * len(strides)
        )
        self.rpn = detection.rpn.RegionProposalNetwork(
            anchors,
            detection.rpn.RPNHead(width, len(RATIOS)),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n={"training": 2000, "testing": 1000},
            post_nms_top_n={"training": 1000, "testing": 1000},
            nms_thresh=0.7,
        )
        levels = [str(i) for i in range(4)]  # proposals are cut out of strides 4 to 32
        self.roi_heads = detection.roi_heads.RoIHeads(
            torchvision.ops.MultiScaleRoIAlign(levels, output_size=ROI, sampling_ratio=2),
            detection.faster_rcnn.FastRCNNConvFCHead(
                (width, ROI, ROI), [head_dim] * 4, [head_hidden], norm_layer=nn.BatchNorm2d
            ),
            detection.faster_rcnn.FastRCNNPredictor(head_hidden, num_classes + 1),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=512,
            positive_fraction=0.25,
            bbox_reg_weights=(10.0, 10.0, 5.0, 5.0),
            score_thresh=min_score,
            nms_thresh=nms_iou,
            detections_per_img=max_boxes,
        )

    def forward(
        self, image: Tensor, targets: Sequence[Mapping[str, Tensor]] | None = None
    ) -> list[dict[str, Tensor]] | dict[str, Tensor]:
        """Detect objects, or in training mode compare with ``targets``.

        Args:
            image: [B, 3, H, W], normalised, any size.
            targets: for each image ``boxes`` [N, 4] as (left, top, right, bottom) in pixels and ``labels`` [N] from 1.

        Returns:
            for each image ``boxes`` [N, 4], ``labels`` [N] from 1 and ``scores`` [N], best first; in training mode the
            losses ``objectness``, ``proposal``, ``classes`` and ``boxes``.

        Raises:
            ModelError: training mode without targets.
        """
        if self.training and targets is None:
            raise ModelError("a detector in training mode needs targets")
        goals = [dict(t) for t in targets] if self.training and targets is not None else None
        image_list = load_torchvision().models.detection.image_list
        sizes = [tuple(image.shape[-2:])] * len(image)
        padded = pad_to_multiple(image, STRIDE)
        maps = self.encoder.forward_pyramid(padded, self.modality)
        # boxes are numbers in the hundreds with fractions: half precision would shift them by pixels
        with torch.autocast(image.device.type, enabled=False):
            levels = OrderedDict((str(i), m.float()) for i, m in enumerate(maps))
            proposals, losses = self.rpn(image_list.ImageList(padded, sizes), levels, goals)
            matched: Any = None
            if goals is not None:
                proposals, matched, labels, _ = self.roi_heads.select_training_samples(proposals, goals)
            whole = [tuple(padded.shape[-2:])] * len(image)  # the size that the levels' strides refer to
            regions = self.roi_heads.box_roi_pool(levels, proposals, whole)
        logits, deltas = (x.float() for x in self.roi_heads.box_predictor(self.roi_heads.box_head(regions)))
        with torch.autocast(image.device.type, enabled=False):
            if goals is None:
                found = self.roi_heads.postprocess_detections(logits, deltas, proposals, sizes)
                return [{"boxes": b, "labels": k, "scores": s} for b, s, k in zip(*found, strict=True)]
            # an image without objects has no box to point to; all its proposals are background
            wanted = torch.cat([F.pad(g["boxes"], (0, 0, 0, 1))[m] for g, m in zip(goals, matched, strict=True)])
            return {
                "objectness": losses["loss_objectness"],
                "proposal": losses["loss_rpn_box_reg"],
                "classes": F.cross_entropy(logits, torch.cat(labels)),
                "boxes": BOX_WEIGHT * self._giou(deltas, proposals, torch.cat(labels), wanted),
            }

    def _giou(self, deltas: Tensor, proposals: list[Tensor], labels: Tensor, wanted: Tensor) -> Tensor:
        """Mean GIoU loss over the proposals, counting those of objects: [N, 4 * classes], labels [N], boxes [N, 4]."""
        boxes = self.roi_heads.box_coder.decode(deltas, proposals)  # [N, classes, 4]
        objects = labels > 0
        chosen = boxes[objects, labels[objects]]
        loss = load_torchvision().ops.generalized_box_iou_loss(chosen, wanted[objects], reduction="sum")
        return loss / max(len(labels), 1)


def load_torchvision() -> Any:
    """The module torchvision, with its detection parts.

    Raises:
        ModelError: it is not installed, or does not fit the torch that is.
    """
    try:
        import torchvision
        import torchvision.models.detection
    except (ImportError, RuntimeError) as error:
        raise ModelError(
            "object detection needs torchvision", found=str(error), hint="pip install 'codemae-geo[detection]'"
        ) from error
    return torchvision
