"""The runtimes that run exported models, without torch: OpenVINO and ONNX Runtime."""

from __future__ import annotations

import base64
import json
import os
import zlib
from collections.abc import Collection, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from codemae_geo.cache import cache_folder
from codemae_geo.errors import ModelError, param
from codemae_geo.inference.finite import NotANumber
from codemae_geo.inference.runtimes.base import Choice, Program
from codemae_geo.inference.runtimes.boxes import Settings, find_boxes
from codemae_geo.inference.runtimes.positions import position_weights
from codemae_geo.weights.contract import ModelContract, PackageFile, file_sha256, read_contract, read_metadata

#: key of an exported model's metadata under which stands how it is to be run, as JSON
PROGRAM_KEY = "codemae-program"
#: share of the probe's labels, or of the features' length, on which a runtime may differ from the export
TOLERANCE = 0.005
#: pixels of a patch, whose positions are fed
_PATCH = 16
#: outputs of the two dense parts of a detector: of an image, and of the regions that are cut out of its maps
IMAGE_OUTPUTS = (
    *(f"level{n}" for n in range(4)),
    *(f"scores{n}" for n in range(5)),
    *(f"deltas{n}" for n in range(5)),
)
REGION_OUTPUTS = ("logits", "moves")
DETECTOR_OUTPUTS = (*IMAGE_OUTPUTS, *REGION_OUTPUTS)


def native_precision() -> tuple[str, str]:
    """The fastest precision that OpenVINO computes natively here, and why."""
    import openvino

    can = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("bfloat16", "native bfloat16") if "BF16" in can else ("float32", "no native bfloat16")


def is_exported(path: str | Path) -> bool:
    """Whether a file is a model that was exported here, not an ONNX file from elsewhere."""
    path = Path(path)
    if path.suffix.lower() != ".onnx" or not path.is_file():
        return False
    try:
        return PROGRAM_KEY in read_metadata(path)
    except ModelError:
        return False


def exported_program(path: Path) -> Program:
    """What an exported model was exported for.

    Raises:
        ModelError: it does not say.
    """
    return Program(**_told(path)["program"])


def export_path(package: PackageFile, program: Program) -> Path:
    """Where the export of a package is looked for: beside it, under its name; features are one of several."""
    if program.kind == "features":
        return package.path.with_name(f"{package.path.stem}-{program.sensor}-{program.stride}.onnx")
    return package.path.with_suffix(".onnx")


def find_export(package: PackageFile, program: Program) -> Path | None:
    """The exported model of a package: itself, or a file beside it, for ``program``.

    Raises:
        ModelError: the package is an exported model for something else.
    """
    own = package.path.suffix == ".onnx"
    if own and hasattr(package, "module"):  # a model from elsewhere, which torch runs
        return None
    places = [package.path] if own else [export_path(package, program), package.path.with_suffix(".onnx")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return None
    told = _told(path)
    fits = told["program"] == program.as_dict()
    if own:
        if not fits:
            raise ModelError(
                f"{path.name} was exported for something else",
                found=", ".join(f"{k}={v}" for k, v in told["program"].items() if v is not None),
                expected=", ".join(f"{k}={v}" for k, v in program.as_dict().items() if v is not None),
                hint="export it for this, or name the package that it was made from",
            )
        return path
    if read_contract(path).tensors_sha256 != package.contract.tensors_sha256:
        raise ModelError(
            f"{path.name} is not an export of this version of {package.path.name}",
            hint=f"export the package again, remove {path.name}, or use {param('runtime', 'torch')}",
        )
    return path if fits else None


def load_graph(path: Path, contract: ModelContract, program: Program, choice: Choice) -> GraphNetwork:
    """Load an exported model, and at first use hold its answer to the one that it was exported with.

    Raises:
        ModelError: it cannot be loaded, or its answer is another.
    """
    kind = OpenVinoNetwork if choice.runtime == "openvino" else OnnxNetwork
    try:
        network = kind(path, contract, program, choice)
    except Exception as error:  # each runtime has its own kinds
        raise ModelError(f"{path.name} cannot be loaded: {str(error).splitlines()[0]}") from error
    _check(network, path, choice)
    return network


class GraphNetwork:
    """See :class:`codemae_geo.inference.runtimes.Network`; subclasses run the graph."""

    def __init__(self, path: Path, contract: ModelContract, program: Program, choice: Choice) -> None:
        told = _told(path)
        self.path, self.contract, self.program, self.choice = path, contract, program, choice
        self.channels: int = told["channels"]
        self.weight_bytes = path.stat().st_size
        self.probe: str = told["probe"]
        self._detector = Settings(**told["detector"]) if "detector" in told else None
        self._side: int | None = told["positions"]
        self._positions: dict[tuple[int, int], tuple[NDArray[np.float32], NDArray[np.float32]]] = {}

    def __call__(self, images: Sequence[NDArray[np.generic]], valid: Sequence[NDArray[np.bool_]]) -> Any:
        """See :class:`codemae_geo.inference.runtimes.Network`."""
        feeds: dict[str, NDArray[Any]] = {}
        for spec, image, mask in zip(self.contract.inputs, images, valid, strict=True):
            feeds[spec.name] = image if image.dtype == np.float32 else image.astype(np.float32)
            feeds[f"{spec.name}_valid"] = mask
        if self._side is not None:
            grid = images[0].shape[-2] // _PATCH, images[0].shape[-1] // _PATCH
            if grid not in self._positions:
                self._positions[grid] = position_weights(self._side, *grid)
            feeds["rows"], feeds["columns"] = self._positions[grid]
        fixed = ("rows", "columns")
        parts = [{k: v if k in fixed else v[i : i + 1] for k, v in feeds.items()} for i in range(images[0].shape[0])]
        if self._detector is not None:
            return [self._detect(part, self._detector) for part in parts]
        answers = [self._run(part) for part in parts]
        if any(np.isnan(answer).any() for answer in answers):
            raise NotANumber("answer")
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    def probe_answer(self) -> NDArray[Any]:
        """What is compared of the answer to the probe."""
        images, valid = probe_windows(self.contract)
        if self._detector is None:
            return probe_answer(self(images, valid), self.program.kind)
        grid = images[0].shape[-2] // _PATCH, images[0].shape[-1] // _PATCH
        assert self._side is not None
        rows, columns = position_weights(self._side, *grid)
        spec = self.contract.inputs[0]
        feeds: dict[str, NDArray[Any]] = {spec.name: images[0], f"{spec.name}_valid": valid[0]}
        feeds |= {"rows": rows, "columns": columns}
        return probe_answer(self._run_part(feeds, IMAGE_OUTPUTS)[4], self.program.kind)

    def _detect(self, feeds: dict[str, NDArray[Any]], settings: Settings) -> dict[str, NDArray[Any]]:
        image = next(iter(feeds.values()))
        found = [answer[0] for answer in self._run_part(feeds, IMAGE_OUTPUTS)]
        if any(np.isnan(answer).any() for answer in found):
            raise NotANumber("answer")

        def head(regions: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            answers = [
                self._run_part({"regions": _padded(regions[at : at + _REGIONS])}, REGION_OUTPUTS)
                for at in range(0, len(regions), _REGIONS)
            ]
            logits, moves = (np.concatenate(parts)[: len(regions)] for parts in zip(*answers, strict=True))
            return logits, moves

        return find_boxes((found[:4], found[4:9], found[9:]), head, (image.shape[-2], image.shape[-1]), settings)

    def _run(self, feeds: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        raise NotImplementedError

    def _run_part(self, feeds: dict[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        """Of a graph of two parts, the outputs of one."""
        raise NotImplementedError


#: regions that a detector's head takes at once: one size, so that it is compiled once
_REGIONS = 256


def _padded(regions: NDArray[np.float32]) -> NDArray[np.float32]:
    """Filled up with zeros to :data:`_REGIONS`."""
    missing = _REGIONS - len(regions)
    return np.concatenate([regions, np.zeros((missing, *regions.shape[1:]), np.float32)]) if missing else regions


class OpenVinoNetwork(GraphNetwork):
    """The graph is compiled once in a run for each size of window."""

    def __init__(self, path: Path, contract: ModelContract, program: Program, choice: Choice) -> None:
        super().__init__(path, contract, program, choice)
        import openvino

        self._core = openvino.Core()
        self._core.read_model(path)  # refuses what it cannot run, before a run begins
        self._compiled: dict[tuple[Any, ...], Any] = {}

    def _run(self, feeds: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        return self._run_part(feeds, ("answer",))[0]

    def _run_part(self, feeds: dict[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        size = (*next(iter(feeds.values())).shape, *outputs)
        if size not in self._compiled:
            model = self._core.read_model(self.path)
            if self._detector is not None:
                model = _part(model, feeds, outputs)
            model.reshape({name: list(array.shape) for name, array in feeds.items()})
            hint = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}[self.choice.precision]
            settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
            if threads := os.environ.get("OMP_NUM_THREADS", ""):
                settings["INFERENCE_NUM_THREADS"] = threads
            self._compiled[size] = self._compile(model, settings).create_infer_request()
        request = self._compiled[size]
        request.infer(feeds, share_inputs=True)
        return [np.array(request.get_output_tensor(n).data, np.float32) for n in range(len(outputs))]

    def _compile(self, model: Any, settings: dict[str, Any]) -> Any:
        """Compiled for this processor; the next run finds it in the user's cache."""
        package = f"{self.contract.tensors_sha256[:16]}-openvino-{version('openvino')}"
        folder = cache_folder() / "compiled" / package
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return self._core.compile_model(model, "CPU", {**settings, "CACHE_DIR": str(folder)})
        except (OSError, RuntimeError):  # a cache that cannot be written or read; what is wrong with the model, the
            return self._core.compile_model(model, "CPU", settings)  # second try says


def _part(model: Any, inputs: Collection[str], outputs: Sequence[str]) -> Any:
    """The part of a graph from some of its inputs to some of its outputs."""
    import openvino

    ends = {name: node for node in model.results for name in node.input_value(0).get_names()}
    starts = [node for node in model.get_parameters() if node.output(0).get_names() & set(inputs)]
    return openvino.Model([ends[name] for name in outputs], starts, "part")


class OnnxNetwork(GraphNetwork):
    """Float32 on the CPU."""

    def __init__(self, path: Path, contract: ModelContract, program: Program, choice: Choice) -> None:
        super().__init__(path, contract, program, choice)
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.log_severity_level = 3
        if threads := os.environ.get("OMP_NUM_THREADS", ""):
            settings.intra_op_num_threads = int(threads)
        self._session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])

    def _run(self, feeds: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
        (answer,) = self._session.run(None, feeds)
        return answer

    def _run_part(self, feeds: dict[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[np.float32]]:
        # the other part runs too, on the least that it takes
        return list(self._session.run(list(outputs), {**self._least, **feeds}))

    @cached_property
    def _least(self) -> dict[str, NDArray[Any]]:
        """The smallest array that each input takes."""
        assert self._side is not None
        found: dict[str, NDArray[Any]] = {}
        for node in self._session.get_inputs():
            sides = [n if isinstance(n, int) else (1 if node.name == "regions" else 4 * _PATCH) for n in node.shape]
            found[node.name] = np.zeros(sides, np.bool_ if node.type == "tensor(bool)" else np.float32)
        found["rows"], found["columns"] = position_weights(self._side, 4, 4)
        return found


def _told(path: Path) -> dict[str, Any]:
    """What an exported model says of how it is to be run.

    Raises:
        ModelError: nothing.
    """
    text = read_metadata(path).get(PROGRAM_KEY)
    if text is None:
        raise ModelError(
            f"{path.name} does not say how it is to be run",
            found="an ONNX file of another program",
            expected="a file of `codemae models export`",
        )
    told: dict[str, Any] = json.loads(text)
    return told


# ---------------------------------------------------------------- the check at first use


def probe_windows(contract: ModelContract) -> tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]]]:
    """A picture of smooth shapes and edges within the range that the model was trained on, one window per input."""
    side = contract.window // 32 * 32
    y, x = np.mgrid[:side, :side].astype(np.float64) / 64
    images = []
    for index, spec in enumerate(contract.inputs):
        waves = [
            np.sin((band + 2) * x + index) * np.cos((3 - band) * y)
            + 0.7 * np.sign(np.sin(2.3 * x * (1 + band) + y * y))
            for band in range(len(spec.bands))
        ]
        mean, std = (np.resize(values, len(spec.bands))[:, None, None] for values in (spec.mean, spec.std))
        values = (np.stack(waves) * std + mean) / spec.scale
        if spec.unit == "uint8":
            values = np.clip(np.rint(values), 0, 255)
        images.append(values.astype(np.float32)[None])
    return images, [np.ones((1, side, side), bool) for _ in images]


def probe_answer(answer: NDArray[np.float32], kind: str) -> NDArray[Any]:
    """What is kept of an answer to the probe: labels of scores, else every fourth cell of the numbers."""
    if kind == "scores":
        return answer[0].argmax(0).astype(np.uint8)
    return answer[0][:, ::4, ::4].astype(np.float16)


def pack_answer(answer: NDArray[Any]) -> str:
    """An answer to the probe as text."""
    return f"{answer.dtype.str} {list(answer.shape)} {base64.b64encode(zlib.compress(answer.tobytes(), 9)).decode()}"


def _unpack(text: str) -> NDArray[Any]:
    dtype, shape, data = text.split(" ", 1)[0], text[text.index("[") : text.index("]") + 1], text.rsplit(" ", 1)[1]
    return np.frombuffer(zlib.decompress(base64.b64decode(data)), dtype).reshape(json.loads(shape))


def difference(answer: NDArray[Any], expected: NDArray[Any]) -> float:
    """Share of labels that differ, or of the numbers' length by which they differ."""
    if expected.dtype == np.uint8:
        return float((answer != expected).mean())
    wanted = expected.astype(np.float64)
    return float(np.linalg.norm(answer - wanted)) / max(float(np.linalg.norm(wanted)), 1e-12)


def _check(network: GraphNetwork, path: Path, choice: Choice) -> None:
    name = {"openvino": "openvino", "onnx": "onnxruntime"}[choice.runtime]
    key = f"{file_sha256(path)[:16]}-{name}-{version(name)}-{choice.precision}"
    passed = cache_folder() / "checked" / key
    if passed.exists():
        return
    found = difference(network.probe_answer(), _unpack(network.probe))
    # features are long vectors: bfloat16 keeps three digits of each number
    allowed = TOLERANCE if network.program.kind == "scores" else 4 * TOLERANCE
    if found > allowed:
        raise ModelError(
            f"the runtime {choice.runtime} does not answer as {path.name} did when it was exported",
            found=f"{found:.2%} of the answer to a built-in picture differs in {choice.precision}",
            expected=f"at most {allowed:.1%}",
            hint=f"use {param('precision', 'float32')} or {param('runtime', 'torch')}",
        )
    try:
        passed.parent.mkdir(parents=True, exist_ok=True)
        passed.write_text(f"{found:.6f}\n", encoding="utf-8")
    except OSError:  # checked again next time
        return
