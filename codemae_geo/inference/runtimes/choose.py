"""Which runtime, device and precision: by the hardware and by what is installed, never by a timing."""

from __future__ import annotations

import platform
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from codemae_geo.errors import InputError, ModelError, param
from codemae_geo.inference.runtimes.base import Choice, Network, Program
from codemae_geo.weights.contract import PackageFile

Runtime = Literal["auto", "torch", "openvino", "onnx"]
Device = Literal["auto", "cuda", "mps", "cpu"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
RUNTIMES: tuple[str, ...] = get_args(Runtime)
DEVICES: tuple[str, ...] = get_args(Device)
PRECISIONS: tuple[str, ...] = get_args(Precision)

#: runtime -> module that it needs, and what to install for it
_NEEDS = {
    "torch": ("torch", "pip install 'codemae-geo[torch]'"),
    "openvino": ("openvino", "pip install openvino"),
    "onnx": ("onnxruntime", "pip install onnxruntime"),
}


def choose_runtime(
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    *,
    package: PackageFile | None = None,
    program: Program | None = None,
) -> Choice:
    """Choose runtime, device and precision.

    A GPU is torch's. On a CPU OpenVINO is the fastest, then torch, then ONNX Runtime; the two that need an exported
    model are chosen where one lies beside the package, or the package is one.

    Args:
        runtime: one of :data:`RUNTIMES`.
        device: one of :data:`DEVICES`; ``auto`` takes cuda, then mps, then cpu.
        precision: ``auto`` takes bfloat16 where the hardware multiplies it natively, else float32.
        package: what is to be run; None asks what torch would do, or without torch the first that is installed.
        program: what of the package is to be run; None is what its task says.

    Raises:
        InputError: a name is unknown, the device is not there, the runtime is not installed or lacks the precision.
        ModelError: the package can be run by nothing that is installed.
    """
    for name, asked, known in (
        ("runtime", runtime, RUNTIMES),
        ("device", device, DEVICES),
        ("precision", precision, PRECISIONS),
    ):
        if asked not in known:
            raise InputError(f"unknown {name} {asked!r}", expected=", ".join(known), option=name)
    if runtime != "auto" and not installed(runtime):
        raise InputError(
            f"the runtime {runtime} is not installed",
            found=", ".join(name for name in _NEEDS if installed(name)) or "none",
            hint=f"{_NEEDS[runtime][1]}, or leave {param('runtime')} at auto",
            option="runtime",
        )
    if runtime in ("openvino", "onnx") and device in ("cuda", "mps"):
        raise InputError(
            f"the runtime {runtime} works on the CPU here",
            found=param("device", device),
            expected=f"{param('device', 'cpu')}, or {param('runtime', 'torch')}",
            option="device",
        )
    if runtime == "auto":
        runtime, why = _automatic(device, package, program)
    else:
        why = "asked for"
    if runtime == "torch":
        return _torch(device, precision, why)
    if runtime == "onnx":
        if precision not in ("auto", "float32"):
            raise InputError(
                "ONNX Runtime computes in float32 on a CPU",
                found=param("precision", precision),
                hint=f"use {param('runtime', 'openvino')}, or leave {param('precision')} at auto",
                option="precision",
            )
        return Choice("onnx", "cpu", "float32", why)
    from codemae_geo.inference.runtimes.graph import native_precision

    native, how = native_precision()
    if precision == "float16" and native != "float16":
        raise InputError(
            "this processor does not multiply float16", found=how, hint=f"leave {param('precision')} at auto"
        )
    return Choice("openvino", "cpu", native if precision == "auto" else precision, f"{why}; {how}")


def load_network(package: PackageFile, program: Program, choice: Choice) -> Network:
    """The network of a package, loaded by the runtime that was chosen.

    Raises:
        ModelError: the package cannot be run by it, or its answers there are not those that it was exported with.
    """
    if choice.runtime == "torch":
        if package.path.suffix == ".onnx" and not hasattr(package, "module"):
            raise ModelError(
                f"{package.path.name} is an exported model, which torch does not run",
                hint=f"use {param('runtime', 'openvino')}, or name the package that it was made from",
            )
        from codemae_geo.inference.runtimes.torch import TorchNetwork
        from codemae_geo.weights.package import ModelPackage, load_package

        loaded = package if isinstance(package, ModelPackage) else load_package(package.path)
        return TorchNetwork(loaded.module, package.contract, program, choice)
    from codemae_geo.inference.runtimes.graph import export_path, find_export, load_graph

    path = find_export(package, program)
    if path is None:
        if not installed("torch"):
            raise ModelError(
                f"the model {package.contract.name} is not exported for this, and PyTorch, which would run it, is not"
                " installed",
                found=str(package.path),
                expected=f"an exported model, such as {export_path(package, program).name} beside it",
                hint=f"{_NEEDS['torch'][1]}, or export it where PyTorch is: `codemae models export`",
            )
        from codemae_geo.inference.runtimes.export import export_cached

        path = export_cached(package, program)
    return load_graph(path, package.contract, program, choice)


def _automatic(device: str, package: PackageFile | None, program: Program | None) -> tuple[str, str]:
    from codemae_geo.inference.runtimes.graph import find_export

    exported = package is not None and find_export(package, program or Program.of(package.contract)) is not None
    own = package is not None and package.path.suffix == ".onnx" and not hasattr(package, "module")
    torch = installed("torch") and not own
    if torch and (device in ("cuda", "mps") or (device == "auto" and _gpu())):
        return "torch", "a GPU"
    if exported or not torch:
        why = "a CPU, and the model is exported" if exported else "torch is not installed"
        for name in ("openvino", "onnx"):
            if installed(name):
                return name, why
    if torch:
        return (
            "torch",
            "the model is not exported" if not exported else "neither OpenVINO nor ONNX Runtime is installed",
        )
    raise ModelError(
        "nothing is installed that runs this model",
        expected="OpenVINO, ONNX Runtime, or torch",
        hint=" or ".join(hint for _, hint in _NEEDS.values()),
    )


def _torch(device: str, precision: str, why: str) -> Choice:
    from codemae_geo.inference.device import choose_runtime as choose_device

    chosen = choose_device(device, precision)
    kind = str(chosen.precision).removeprefix("torch.")
    return Choice("torch", chosen.device.type, kind, f"{why}; {chosen.reason}")


def installed(runtime: str) -> bool:
    """Whether the library of a runtime is there; it is not imported."""
    return find_spec(_NEEDS[runtime][0]) is not None


def _gpu() -> bool:
    """Whether torch, which takes a second to import, need be asked for a GPU at all."""
    if sys.platform == "darwin" and platform.machine() != "arm64":
        return False
    if sys.platform.startswith("linux") and not any(
        Path(p).exists() for p in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
    ):
        return False
    import torch

    return torch.cuda.is_available() or torch.backends.mps.is_available()
