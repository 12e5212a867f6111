"""A package as an ONNX file that runs without torch: pixels and masks in, answers out, for windows of any size."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from codemae_geo.cache import cache_folder
from codemae_geo.errors import InputError, ModelError, param
from codemae_geo.inference.runtimes.base import Program, narrowed
from codemae_geo.inference.runtimes.boxes import Settings
from codemae_geo.inference.runtimes.graph import (
    DETECTOR_OUTPUTS,
    PROGRAM_KEY,
    pack_answer,
    probe_answer,
    probe_windows,
)
from codemae_geo.inference.runtimes.positions import position_weights
from codemae_geo.inference.runtimes.program import Windows
from codemae_geo.models import faster_rcnn
from codemae_geo.models.faster_rcnn import FasterRCNN
from codemae_geo.models.hivit import PATCH, HiViT
from codemae_geo.outputs import Staging
from codemae_geo.weights.contract import HEADER_KEY, PackageFile
from codemae_geo.weights.package import ModelPackage, load_package

#: changes when files exported by an older version are to be made again
_FORMAT = 1
#: sides of windows are multiples of it
_MULTIPLE = 32


class _Exportable(nn.Module):
    """:class:`Windows` whose backbones are given the weights of their positions."""

    def __init__(self, windows: Windows) -> None:
        super().__init__()
        self.windows = windows

    def forward(self, *arrays: Tensor) -> Tensor:
        backbones = [m for m in self.windows.modules() if isinstance(m, HiViT)]
        for backbone in backbones:
            backbone.position_weights = (arrays[-2], arrays[-1])
        answer: Tensor = self.windows(*(arrays[:-2] if backbones else arrays))
        return answer


def export(package: PackageFile, path: Path, program: Program | None = None, *, overwrite: bool = False) -> Path:
    """Write a package as one ONNX file with its contract inside.

    Args:
        package: the package.
        path: file to write, ending in ``.onnx``.
        program: what it is to be run for; None is what its task says.
        overwrite: replace an existing file.

    Raises:
        InputError: the converter is not installed.
        ModelError: the network cannot be converted.
        OutputError: the file exists, or cannot be written.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401  (torch.onnx needs it)
    except ImportError as error:
        raise InputError(
            "the converter is not installed", found=str(error), hint="pip install 'codemae-geo[export]'"
        ) from error
    contract = package.contract
    program = program or Program.of(contract)
    seen = narrowed(contract, program)
    if not isinstance(package, ModelPackage) and package.path.suffix == ".onnx":
        raise ModelError(
            f"{package.path.name} is an exported model already", hint="name the package that it was made from"
        )
    loaded = package if isinstance(package, ModelPackage) else load_package(package.path)
    detector = _detector(loaded) if program.kind == "boxes" else None
    windows = Windows(loaded.module, seen, program, eager=False).eval()
    backbones = [m for m in windows.modules() if isinstance(m, HiViT)]
    sides = {round(m.absolute_pos_embed.shape[1] ** 0.5) for m in backbones}
    if len(sides) > 1:
        raise ModelError(f"the backbones of {contract.name} store positions of several sizes", found=str(sides))
    side = sides.pop() if sides else None
    with Staging(path, overwrite=overwrite) as staging:
        images, valid = probe_windows(seen)
        arrays = [torch.from_numpy(a) for pair in zip(images, valid, strict=True) for a in pair]
        with torch.inference_mode():
            answer = windows(*arrays).numpy() if detector is None else detector_logits(windows, arrays)
        part = staging.folder / path.name
        try:
            _convert(windows, seen.inputs, side, seen.window, part)
        except Exception as error:  # the converter raises many kinds
            raise ModelError(f"{contract.name} cannot be converted", found=str(error).splitlines()[0][:200]) from error
        finally:
            for backbone in backbones:
                backbone.position_weights = None
        model = onnx.load(part)
        shrink(model)
        told = {
            "format": _FORMAT,
            "program": program.as_dict(),
            "channels": windows.channels,
            "positions": side,
            "package_sha256": package.sha256,
            "probe": pack_answer(probe_answer(answer, program.kind)),
            **({} if detector is None else {"detector": asdict(detector_settings(detector))}),
        }
        _forget_sources(model.graph)
        for function in model.functions:
            _forget_sources(function)
        del model.metadata_props[:]
        for key, text in ((HEADER_KEY, contract.model_dump_json()), (PROGRAM_KEY, json.dumps(told))):
            model.metadata_props.add(key=key, value=text)
        onnx.save(model, part)
        staging.publish(path.name)
    return path


def export_cached(package: PackageFile, program: Program) -> Path:
    """The exported form of a package in the user's cache, made at first use."""
    stride = f"-{program.sensor}-{program.stride}" if program.kind == "features" else ""
    name = f"{package.contract.name}-{package.sha256[:16]}-{program.kind}{stride}-{_FORMAT}.onnx"
    path = cache_folder() / "exported" / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        export(package, path, program, overwrite=True)
    return path


class _ExportableDetector(_Exportable):
    """The two dense parts of a detector side by side: an image to maps, scores and deltas, and regions to answers."""

    def forward(self, *arrays: Tensor) -> Any:
        module: Any = self.windows.module
        module.backbone.position_weights = (arrays[-3], arrays[-2])
        image = self.windows.normalise[0](arrays[0], arrays[1])
        levels = module.levels(image)
        scores, deltas = module.rpn_head(levels)
        return (*levels[:4], *scores, *deltas, *module.roi_head.bbox_head(arrays[-1]))


def _detector(package: ModelPackage) -> FasterRCNN:
    """The detector of a package, if it is one that is exported.

    Raises:
        ModelError: it is not.
    """
    name, module = package.contract.name, package.module
    hint = f"run it with {param('runtime', 'torch')}"
    if not isinstance(module, FasterRCNN):
        raise ModelError(
            f"detectors of the architecture {package.contract.architecture.name} are not exported",
            expected="the architecture faster-rcnn",
            hint=hint,
        )
    if module.fit is not None:
        raise ModelError(
            f"the detector {name} resizes its images, and such detectors are not exported",
            found=f"fit={list(module.fit)}",
            hint=hint,
        )
    return module


def detector_settings(module: Any) -> Settings:
    """How a detector chooses its boxes."""
    return Settings(
        strides=list(faster_rcnn.STRIDES),
        bases=[faster_rcnn.base_anchors(stride).tolist() for stride in faster_rcnn.STRIDES],
        roi=faster_rcnn.ROI,
        head_std=list(faster_rcnn.HEAD_STD),
        before=module.nms_before,
        proposals=module.proposals,
        proposal_iou=0.7,
        min_score=module.min_score,
        nms_iou=module.nms_iou,
        max_boxes=module.max_boxes,
    )


def detector_logits(windows: Windows, arrays: list[Tensor]) -> Any:
    """Scores of the finest anchors before the sigmoid ``[N, 3, h, w]``: numbers that runtimes are held to."""
    module: Any = windows.module
    levels = module.levels(windows.normalise[0](arrays[0], arrays[1]))
    return module.rpn_head(levels[:1])[0][0].float().numpy()


def _convert(windows: Windows, inputs: Any, side: int | None, window: int, path: Path) -> None:
    rows = torch.export.Dim("rows", min=1, max=512)
    columns = torch.export.Dim("columns", min=1, max=512)
    height, width = _MULTIPLE * rows, _MULTIPLE * columns
    size = max(window // _MULTIPLE, 2) * _MULTIPLE
    # two sizes that differ, and differ from the stored one, so that nothing is taken for a constant
    tall, wide = size, size + 2 * _MULTIPLE
    names, arrays, shapes = [], [], []
    for spec in inputs:
        names += [spec.name, f"{spec.name}_valid"]
        arrays += [torch.zeros(1, len(spec.bands), tall, wide), torch.ones(1, tall, wide, dtype=torch.bool)]
        shapes += [{2: height, 3: width}, {1: height, 2: width}]
    if side is not None:
        names += ["rows", "columns"]
        arrays += [torch.from_numpy(w) for w in position_weights(side, tall // PATCH, wide // PATCH)]
        shapes += [{0: 2 * rows}, {0: 2 * columns}]
    outputs, exportable = ["answer"], _Exportable(windows)
    if windows.kind == "boxes":
        exportable, outputs = _ExportableDetector(windows), list(DETECTOR_OUTPUTS)
        module: Any = windows.module
        names.append("regions")
        arrays.append(torch.zeros(3, module.rpn_head.rpn_conv.in_channels, faster_rcnn.ROI, faster_rcnn.ROI))
        shapes.append({0: torch.export.Dim("count", min=1, max=100_000)})
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            exportable.eval(),
            tuple(arrays),
            dynamo=True,
            dynamic_shapes=(tuple(shapes),),
            input_names=names,
            output_names=outputs,
            opset_version=18,
            verbose=False,
            external_data=False,
        )
    assert made is not None
    made.save(path, external_data=False)


def shrink(model: Any) -> None:
    """Store weights in 16 bits where that changes none: what comes from a package of 16 bits stays as small as it."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16)
        if values.size < 256 or not np.array_equal(half.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT, name=f"{name}.cast"))
    for node in reversed(casts):
        model.graph.node.insert(0, node)


def _forget_sources(graph: Any) -> None:
    """Take out what the exporter notes of the code behind each node: stack traces with the paths of this machine."""
    del graph.metadata_props[:]
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _forget_sources(inner)
    for value in getattr(graph, "value_info", ()):
        del value.metadata_props[:]
