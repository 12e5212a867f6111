"""Models that are not packages of ours: a torch module, an ONNX file, an item of STAC's MLM extension.

What a package carries in its header is told beside the model: in the call, in a contract file (JSON, what ``codemae
models wrap`` writes), in the metadata of the ONNX file, or in the item. Whatever the source, a
:class:`~codemae_geo.weights.package.ModelPackage` comes out, after one forward pass that shows that the model answers
every pixel with as many numbers as were told. Nothing is unpickled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from codemae_geo.classes import STANDARD_COLORS, ClassInfo
from codemae_geo.errors import ModelError
from codemae_geo.tasks import TASKS
from codemae_geo.texts import read_text
from codemae_geo.weights.package import (
    HEADER_KEY,
    ArchitectureSpec,
    ClassSpec,
    InputSpec,
    ModelContract,
    ModelPackage,
    class_specs,
    file_sha256,
    load_package,
    tensors_sha256,
)

#: side of the image that a model is tried on
PROBE = 64
#: sums of the channels within this of 1 are probabilities, not logits
SUMS_TO_ONE = 1e-3

InputLike = InputSpec | Mapping[str, Any]
ClassLike = str | ClassInfo | ClassSpec | Mapping[str, Any]


class DenseModel(nn.Module):
    """Any model of images as one that gives a tensor of logits or values ``[B, K, H, W]``.

    Args:
        module: takes ``[B, C, H, W]``, returns a tensor, or a tuple or dictionary whose first entry (or ``out``, as
            torchvision's segmentation models have it) is one. One channel for two classes is the logit of the second.
        outputs: K.
        side: the one size of window that the model takes, in pixels; None is any.
    """

    def __init__(self, module: nn.Module, outputs: int, side: int | None = None) -> None:
        super().__init__()
        self.module = module
        self.outputs = outputs
        self.side = side
        self.multiple = side or 32
        self.log = False  # set when the model was seen to answer probabilities

    def forward(self, *images: Tensor) -> Tensor:
        """See the class."""
        answer = self.module(*images)
        if isinstance(answer, Mapping):
            answer = answer.get("out", next(iter(answer.values())))
        elif isinstance(answer, tuple | list):
            answer = answer[0]
        if isinstance(answer, Tensor) and answer.ndim == 4 and answer.shape[1] == 1 and self.outputs == 2:
            answer = torch.cat([torch.zeros_like(answer), answer], 1)
        return answer.clamp_min(1e-12).log() if self.log else answer


class OnnxModule(nn.Module):
    """An ONNX file run by onnxruntime, behind the face of a torch module.

    Args:
        path: the file.

    Raises:
        ModelError: onnxruntime is missing, the file is not a model, or does not take images ``[B, C, H, W]``.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        try:
            import onnxruntime
        except ImportError as error:
            raise ModelError(
                "ONNX files need onnxruntime, which cannot be imported",
                found=str(error),
                hint="pip install onnxruntime (or onnxruntime-gpu)",
            ) from error
        if not Path(path).is_file():
            raise ModelError(f"there is no model file {path}")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        there = onnxruntime.get_available_providers()
        wanted = [p for p in ("CUDAExecutionProvider", "CPUExecutionProvider") if p in there]
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=wanted)
        except Exception as error:  # onnxruntime's own exceptions share no base class
            raise ModelError(
                f"{Path(path).name} cannot be opened as an ONNX model", found=str(error).splitlines()[0][:200]
            ) from error
        self.shapes = [list(node.shape) for node in self.session.get_inputs()]
        if any(len(shape) != 4 for shape in self.shapes):
            raise ModelError(
                f"{Path(path).name} does not take images",
                found="; ".join(f"{node.name} {node.shape}" for node in self.session.get_inputs()),
                expected="inputs of four dimensions: batch, channels, height, width",
            )

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of itself."""
        return dict(self.session.get_modelmeta().custom_metadata_map)

    @property
    def side(self) -> int | None:
        """The side of the images, where the file fixes it."""
        sides = {n for shape in self.shapes for n in shape[2:] if isinstance(n, int) and n > 0}
        return max(sides) if sides else None

    @property
    def one_by_one(self) -> bool:
        """Whether the file takes one image at a time."""
        return self.shapes[0][0] == 1

    def forward(self, *images: Tensor) -> Tensor:
        """The first output for the inputs in the order of the file."""
        names = [node.name for node in self.session.get_inputs()]
        if self.one_by_one and len(images[0]) > 1:
            return torch.cat([self(*(i[n : n + 1] for i in images)) for n in range(len(images[0]))])
        feed = {name: image.float().cpu().numpy() for name, image in zip(names, images, strict=True)}
        return torch.from_numpy(self.session.run(None, feed)[0]).to(images[0].device)


# ---------------------------------------------------------------- contracts


def make_contract(
    inputs: InputLike | Sequence[InputLike],
    classes: Sequence[ClassLike] | None = None,
    values: Sequence[str] | None = None,
    *,
    name: str = "model",
    framework: str = "torch",
    window: int = 512,
    overlap: float = 0.5,
    licence: str = "not stated",
    description: str = "",
) -> ModelContract:
    """A contract from what a user says.

    Args:
        inputs: one input, or several: fields of :class:`InputSpec`; ``name``, ``unit`` (uint8), ``mean`` (0) and
            ``std`` (1) may be missing.
        classes: names, or whole entries, in the order of the model's channels.
        values: names of the bands of a regression, such as ``height in m``, in place of classes.
        name, licence, description, window, overlap: see :class:`ModelContract`.
        framework: torch or onnx.

    Raises:
        ModelError: both or neither of classes and values, or a field that does not fit.
    """
    if bool(classes) == bool(values):
        raise ModelError(
            "nothing says what the model answers",
            found="both classes and values" if classes else "neither classes nor values",
            expected="classes=[...] for a map of classes, or values=[...] for bands of numbers",
        )
    given = [inputs] if isinstance(inputs, InputSpec | Mapping) else list(inputs)
    try:
        return ModelContract(
            name=re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-.") or "model",
            description=description or "A model that was brought along.",
            temperature=1.0,
            task="segmentation" if classes else "regression",
            architecture=ArchitectureSpec(name=framework),
            inputs=[_input(one, n, len(given)) for n, one in enumerate(given)],
            classes=[_class(c, n) for n, c in enumerate(classes or ())],
            values=list(values or ()),
            window=window,
            overlap=overlap,
            licence=licence,
        )
    except ValidationError as error:
        raise _invalid("the description of the model", error) from error


def _input(given: InputLike, number: int, count: int) -> InputSpec:
    if isinstance(given, InputSpec):
        return given
    bands = [str(b) for b in given.get("bands", ())]
    defaults = {
        "name": "image" if count == 1 else f"image{number + 1}",
        "unit": "uint8",
        "mean": [0.0] * len(bands),
        "std": [1.0] * len(bands),
    }
    return InputSpec.model_validate({**defaults, **given, "bands": bands})


def _class(given: ClassLike, number: int) -> ClassSpec:
    if isinstance(given, ClassInfo):
        return class_specs([given])[0]
    if isinstance(given, ClassSpec):
        return given
    fields = {"name": given} if isinstance(given, str) else dict(given)
    defaults = {"value": number, "color": STANDARD_COLORS[number % len(STANDARD_COLORS)]}
    return ClassSpec.model_validate(defaults | fields)


def read_contract_file(path: str | Path) -> ModelContract:
    """A contract from a JSON file.

    Raises:
        ModelError: it is missing or not a contract.
    """
    return _parse(Path(path).name, _read_text(Path(path)))


def _parse(name: str, text: str) -> ModelContract:
    try:
        return ModelContract.model_validate_json(text)
    except ValidationError as error:
        raise _invalid(f"the contract {name}", error) from error


def _invalid(what: str, error: ValidationError) -> ModelError:
    first = error.errors()[0]
    field = ".".join(str(p) for p in first["loc"]) or "contract"
    return ModelError(
        f"{what} is not valid", found=f"{field}: {first['msg']}", hint="codemae models wrap writes one by asking"
    )


def _read_text(path: Path) -> str:
    try:
        return read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read", found=str(error)) from error


# ---------------------------------------------------------------- STAC MLM


def read_mlm(path: str | Path) -> tuple[ModelContract | None, Path]:
    """The contract that an item of the MLM extension amounts to, and its model file beside it.

    The extension does not say in which unit pixels are to be given; it is taken from the statistics: negative means of
    radar bands are decibels, optical means of up to 1.5 reflectance, up to 255 bytes, above digital numbers. The
    contract's ``limits`` say so.

    Returns:
        The contract, None where the file is a package with its own; the file.

    Raises:
        ModelError: not such an item, a file that is not beside it, or a task or scaling that cannot be served.
    """
    path = Path(path)
    try:
        item = json.loads(_read_text(path))
        properties, assets = dict(item["properties"]), dict(item["assets"])
        tasks, inputs, outputs = (properties[f"mlm:{key}"] for key in ("tasks", "input", "output"))
        if not (inputs and outputs):
            raise KeyError("mlm:input" if not inputs else "mlm:output")
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{path.name} is not an item of the STAC MLM extension",
            found=f"no {error}" if isinstance(error, KeyError) else str(error)[:100],
            expected="mlm:tasks, mlm:input, mlm:output and an asset with the role mlm:model",
        ) from error
    models = [a for a in assets.values() if {"mlm:model", "mlm:weights"} & set(a.get("roles", ()))]
    if not models:
        raise ModelError(f"{path.name} has no model", expected="an asset with the role mlm:model")
    href = str(models[0].get("href", ""))
    file = Path(href) if Path(href).is_absolute() else path.parent / href
    if "://" in href or not file.is_file():
        raise ModelError(
            f"the model of {path.name} is not beside it", found=href, hint="fetch it, and let href name the local file"
        )
    if file.suffix == ".safetensors":
        return None, file
    if file.suffix != ".onnx":
        raise ModelError(
            f"the model of {path.name} cannot be run", found=file.name, expected=".onnx, or .safetensors of ours"
        )
    named = {TASKS[name].stac: name for name in ("segmentation", "regression")}
    task = next((named[t] for t in tasks if t in named), None)
    if task is None:
        raise ModelError(f"{path.name} is for another task", found=", ".join(tasks), expected=", ".join(named))
    classes = [_mlm_class(c, n) for n, c in enumerate(outputs[0].get("classification:classes") or ())]
    bands = outputs[0].get("bands") or [outputs[0].get("name") or "value"]
    specs = [_mlm_input(path, one, len(inputs)) for one in inputs]
    shape = inputs[0].get("input", {}).get("shape", [])
    side = shape[-1] if shape and isinstance(shape[-1], int) and 32 <= shape[-1] <= 8192 else 512
    contract = make_contract(
        specs,
        classes if task == "segmentation" else None,
        None if task == "segmentation" else [_band_name(b) for b in bands],
        name=str(properties.get("mlm:name") or path.stem),
        framework="onnx",
        window=side,
        licence=str(properties.get("license") or "not stated"),
        description=str(properties.get("description") or ""),
    )
    units = ", ".join(f"{s.name} {s.unit}" for s in contract.inputs)
    return contract.model_copy(
        update={"limits": f"the item names no units, they were told from statistics: {units}"}
    ), file


def _band_name(band: Any) -> str:
    return str(band.get("name")) if isinstance(band, Mapping) else str(band)


def _mlm_class(entry: Mapping[str, Any], number: int) -> dict[str, Any]:
    color = entry.get("color_hint") or entry.get("color-hint")
    fields: dict[str, Any] = {"value": int(entry.get("value", number)), "name": str(entry.get("name") or number)}
    return fields | ({"color": f"#{color}".lower().replace("##", "#")} if color else {})


def _mlm_input(path: Path, one: Mapping[str, Any], count: int) -> dict[str, Any]:
    bands = [_band_name(b) for b in one.get("bands") or ()]
    radar = bool(bands) and all(re.fullmatch(r"(?i)(vv|vh|hh|hv|sar)\d*", b) for b in bands)
    scaling = one.get("value_scaling") or []
    kinds = {s.get("type") for s in scaling}
    if kinds == {"z-score"}:
        mean, std = [float(s["mean"]) for s in scaling], [float(s["stddev"]) for s in scaling]
    elif kinds == {"min-max"}:
        mean = [float(s["minimum"]) for s in scaling]
        std = [float(s["maximum"]) - float(s["minimum"]) for s in scaling]
    elif not scaling:
        mean, std = [0.0] * len(bands), [1.0] * len(bands)
    else:
        raise ModelError(
            f"the scaling in {path.name} cannot be applied",
            found=", ".join(map(str, kinds)),
            expected="z-score or min-max",
        )
    if len(mean) == 1:
        mean, std = mean * len(bands), std * len(bands)
    top = max((m + s for m, s in zip(mean, std, strict=True)), default=1.0)
    if radar:
        unit = "db" if min(mean) < 0 else "uint8" if top > 1.5 else "amplitude"
    else:
        unit = "reflectance" if scaling and top <= 1.5 else "uint8" if top <= 300 else "dn"
    return {
        "bands": bands,
        "family": "sar" if radar else "optical",
        "unit": unit,
        "mean": mean,
        "std": std,
        **({"name": str(one["name"])} if count > 1 and one.get("name") else {}),
    }


# ---------------------------------------------------------------- packages


def is_foreign(model: Any) -> bool:
    """Whether ``model`` is anything but the name, file or address of a package of ours."""
    return isinstance(model, nn.Module) or Path(str(model)).suffix.lower() in (".onnx", ".json")


def wrap(
    model: nn.Module | str | Path,
    inputs: InputLike | Sequence[InputLike] | None = None,
    classes: Sequence[ClassLike] | None = None,
    values: Sequence[str] | None = None,
    *,
    contract: ModelContract | str | Path | None = None,
) -> ModelPackage:
    """Any model as a package that the engine runs.

    Args:
        model: a torch module (it is set to evaluation), an ONNX file, or a STAC MLM item (``.json``).
        inputs, classes, values: see :func:`make_contract`; they go before what the file itself says.
        contract: all of it at once: a contract, or the JSON file of one.

    Returns:
        The package; ``package.module`` is a :class:`DenseModel`, unless the item names a package of ours.

    Raises:
        ModelError: it is not said what the model takes or answers, or it does not do so.
    """
    told = read_contract_file(contract) if isinstance(contract, str | Path) else contract
    path = Path("memory") if isinstance(model, nn.Module) else Path(model)
    if path.suffix.lower() == ".json":
        item, path = read_mlm(path)
        if item is None:
            return load_package(path)
        told = told or item
    module = model if isinstance(model, nn.Module) else OnnxModule(path)
    name = type(module).__name__ if isinstance(model, nn.Module) else path.stem
    if isinstance(module, OnnxModule) and told is None and HEADER_KEY in module.metadata:
        told = _parse(f"in {path.name}", module.metadata[HEADER_KEY])
    side = module.side if isinstance(module, OnnxModule) else None
    if inputs is not None or classes or values:
        base = told.model_dump() if told else {}
        told = make_contract(
            inputs if inputs is not None else [InputSpec.model_validate(i) for i in base.get("inputs", ())],
            classes or (None if values else [ClassSpec.model_validate(c) for c in base.get("classes", ())]),
            values or (None if classes else base.get("values")),
            name=base.get("name", name),
            framework="onnx" if isinstance(module, OnnxModule) else "torch",
            window=base.get("window", side or 512),
            licence=base.get("licence", "not stated"),
        )
    if told is None:
        raise ModelError(
            f"nothing says what {name} takes and answers",
            expected="inputs= and classes= (or values=), or a contract file",
            hint=f"codemae models wrap {path if path.suffix else 'MODEL.onnx'} -o contract.json asks for them",
        )
    if side is not None:
        told = told.model_copy(update={"window": side})
    outputs = len(told.classes) or len(told.values)
    dense = DenseModel(module, outputs, side).eval()
    probe(dense, told, side or PROBE)
    sha256 = tensors_sha256(module.state_dict()) if isinstance(model, nn.Module) else file_sha256(path)
    return ModelPackage(told, path, sha256, dense)


@torch.inference_mode()
def probe(model: DenseModel, contract: ModelContract, side: int) -> None:
    """One forward pass: shape of the answer, and whether classes come as probabilities.

    Raises:
        ModelError: the model fails, or answers in another shape than told.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    random = torch.Generator().manual_seed(0)
    images = [torch.randn(1, i.channels, side, side, generator=random).to(device) for i in contract.inputs]
    took = " and ".join(f"{list(i.shape)}" for i in images)
    try:
        answer = model(*images)
    except Exception as error:  # whatever the model raises
        raise ModelError(
            f"the model {contract.name} cannot run on its inputs",
            found=f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}",
            expected=f"a model that takes {took}",
            hint="check the bands in the inputs",
        ) from error
    wanted = [1, model.outputs, side, side]
    if not isinstance(answer, Tensor) or list(answer.shape) != wanted:
        found = list(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        raise ModelError(
            f"the model {contract.name} answers in another shape",
            found=f"{found} for an image of {took}",
            expected=f"{wanted}: one number for every {'class' if contract.classes else 'value'} and pixel",
        )
    if contract.classes and answer.min() >= 0 and (answer.float().sum(1) - 1).abs().max() < SUMS_TO_ONE:
        model.log = True
