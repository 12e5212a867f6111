"""Published checkpoints as model packages."""

from __future__ import annotations

import argparse
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from codemae_geo import models
from codemae_geo.classes import DAMAGE_CLASSES, STANDARD_COLORS
from codemae_geo.errors import ModelError
from codemae_geo.models.cross_scale_mae import from_xformers, norm_order_of
from codemae_geo.sensors import SENSORS
from codemae_geo.weights.package import (
    ArchitectureSpec,
    ClassSpec,
    DataSource,
    InputSpec,
    ModelContract,
    class_specs,
    load_strict,
    save_package,
)

#: why an entry of a checkpoint is not in the package, by prefix
LeftOut = Mapping[str, str]


@dataclass(frozen=True)
class Preset:
    """What a kind of published checkpoint holds.

    Args:
        contract: fields of the contract; name, version, licence and classes may be overridden.
        left_out: prefixes of entries that the package leaves out, each with the reason. Any other entry must fit.
        copies: (prefix, its places in the package): entries that go to several places, such as a single tokenizer.
        configure: makes the architecture's configuration complete from the checkpoint (classes, sensor).
        class_names: names in the order of the published outputs.
        rename: gives the entries of a checkpoint other names before all this, and refuses one of another form.
    """

    contract: dict[str, Any]
    left_out: LeftOut = field(default_factory=dict)
    copies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    configure: Callable[[Mapping[str, torch.Tensor], dict[str, Any]], dict[str, Any]] | None = None
    class_names: tuple[str, ...] = ()
    rename: Callable[[Mapping[str, torch.Tensor]], dict[str, torch.Tensor]] | None = None


@dataclass(frozen=True)
class Conversion:
    """What came of a checkpoint.

    Args:
        contract: the contract of the package.
        used: name in the checkpoint -> names in the package.
        left_out: name in the checkpoint -> why it is not in the package.
        made: names in the package that the checkpoint lacks (step counters of batch norms, which start at 0).
    """

    contract: ModelContract
    used: dict[str, list[str]]
    left_out: dict[str, str]
    made: list[str]


_PUBLISHER = "see the publisher of the checkpoint"
_OPTICAL = {"family": "optical", "bands": ["red", "green", "blue"], "unit": "uint8"}
_SAR = {"family": "sar", "bands": ["sar"], "unit": "uint8"}

# Mean and standard deviation as published with CoDe-MAE (scenarri/CoDeMAE, snapshot 0463095): BRIGHT and LoveDA on
# 0..255, the others on 0..1. ``UNPAIRED`` are its statistics of unpaired images of many sources.
_BRIGHT_PRE = ([88.76, 85.2, 76.74], [67.49, 58.56, 54.09])
_BRIGHT_POST = ([56.29] * 3, [45.01] * 3)
_LOVEDA = ([73.1018, 79.1335, 75.9548], [39.2882, 35.3748, 34.0695])
_AID = ([0.3978, 0.4092, 0.3685], [0.217, 0.1945, 0.192])
_RESISC45 = ([0.368, 0.381, 0.3436], [0.2034, 0.1853, 0.1848])
_UNPAIRED = ([0.3865, 0.4117, 0.3632], [0.2093, 0.1803, 0.1748])
_UNPAIRED_SAR = ([0.1738] * 3, [0.2226] * 3)
_FMOW = ([0.43392888, 0.43578541, 0.40744025], [0.19828456, 0.19250111, 0.19454683])
_IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def _input(
    name: str, kind: Mapping[str, Any], statistics: tuple[list[float], list[float]], unit: bool = True, **more: Any
) -> InputSpec:
    """An input whose statistics hold for 0..1 (``unit``) or for 0..255."""
    mean, std = statistics
    return InputSpec(name=name, **kind, scale=1 / 255 if unit else 1.0, mean=mean, std=std, **more)


_DAMAGE = {
    "description": "Building damage from an optical scene before and a SAR scene after (DamageFormer on CoDe-MAE).",
    "task": "damage",
    "inputs": [
        _input("pre", _OPTICAL, _BRIGHT_PRE, unit=False, gsd=(0.3, 1.0)),
        _input("post", _SAR, _BRIGHT_POST, unit=False, gsd=(0.3, 1.0)),
    ],
    "classes": class_specs(DAMAGE_CLASSES),
    "window": 512,
    "overlap": 0.5,
    # the published inference multiplies the damage class by the localisation class
    "localisation": "gate",
    "licence": _PUBLISHER,
    "training_data": [DataSource(name="BRIGHT", licence="CC BY-NC-SA 4.0", attribution="Chen et al. 2025, BRIGHT")],
    "training": "CoDe-MAE, building damage on BRIGHT (DFC25-T2), as published.",
}

#: parts of the pretraining model that an encoder does not have
_DECODERS: LeftOut = {
    "mask_token": "decoder",
    "decoder_": "decoder",
    "contrastive_loss.": "contrastive head",
    "lm_head.": "distillation head",
    "lm_cls_head.": "distillation head",
    "norm.": "distillation head",
    "norm_cls.": "distillation head",
    "cls_pt_layers.": "auxiliary branch",
}
_ITPN: LeftOut = {
    **_DECODERS,
    "block_16to8.1.": "second pyramid block of the original",
    "block_8to4.1.": "second pyramid block of the original",
}
_TOKENIZERS = {"patch_embed.": ("patch_embed_rgb.", "patch_embed_sar.")}
_MMENGINE: LeftOut = {"data_preprocessor.": "the contract holds the normalisation"}
_LOVEDA_CLASSES = ("background", "building", "road", "water", "barren", "forest", "agriculture")


def _configure_upernet(state: Mapping[str, torch.Tensor], config: dict[str, Any]) -> dict[str, Any]:
    sensor = "sar" if any(k.startswith("backbone.patch_embed_sar.") for k in state) else "optical"
    changes: dict[str, Any] = {"sensors": [sensor], "num_classes": _rows(state, "decode_head.conv_seg.weight")}
    if not any(k.startswith("auxiliary_head.") for k in state):
        changes["aux_channels"] = 0
    return config | changes


def _configure_classifier(state: Mapping[str, torch.Tensor], config: dict[str, Any]) -> dict[str, Any]:
    normed = "head.1.weight" in state
    classes = _rows(state, "head.1.weight" if normed else "head.weight")
    return config | {"num_classes": classes} | ({"head_norm": True} if normed else {})


def _rows(state: Mapping[str, torch.Tensor], key: str) -> int:
    if key not in state:
        raise ModelError(
            f"the checkpoint has no {key}",
            found=", ".join(list(state)[:3]) + ", ...",
            hint="another preset, or a checkpoint of another model",
        )
    return len(state[key])


def _encoder(size: str) -> dict[str, Preset]:
    config = {"encoder": {"variant": size, "img_size": 224}}
    base: dict[str, Any] = {
        "task": "embedding",
        "architecture": ArchitectureSpec(name="encoder", config=config),
        "window": 224,
        "licence": _PUBLISHER,
        "limits": "A backbone: it draws no map. Normalisation is that of many sources together; statistics of "
        "your own collection do better.",
    }
    sar = _input("sar", _SAR, _UNPAIRED_SAR)
    pretrained = base | {
        "name": f"encoder-{size}",
        "description": "Backbone of a CoDe-MAE pretraining checkpoint: one embedding per image.",
        "inputs": [_input("optical", _OPTICAL, _UNPAIRED), sar],
        "training": "CoDe-MAE pretraining on OSPretrain-1M, as published.",
    }
    imagenet = base | {
        "name": f"itpn-{size}",
        "description": "iTPN's ImageNet backbone, its tokenizer given to both modalities: where CoDe-MAE starts.",
        "inputs": [_input("optical", _OPTICAL, _IMAGENET), sar],
        "training": "iTPN pretraining on ImageNet, as published. It has seen no SAR image.",
    }
    return {
        f"encoder-{size}": Preset(pretrained, left_out=_DECODERS),
        f"itpn-{size}": Preset(imagenet, left_out=_ITPN, copies=_TOKENIZERS),
    }


def _classifiers(size: str) -> dict[str, Preset]:
    found = {}
    for name, modality, kind, statistics, data in (
        ("aid", "RGB", _OPTICAL, _AID, "AID"),
        ("resisc45", "RGB", _OPTICAL, _RESISC45, "NWPU-RESISC45"),
        ("sar", "SAR", _SAR, _UNPAIRED_SAR, "FUSAR-Ship, MSTAR or SAR-ACD, centre crop 128 resized to 224"),
    ):
        config = {"variant": size, "img_size": 224, "modality": modality}
        contract = {
            "name": f"classifier-{name}-{size}",
            "description": f"Classification on CoDe-MAE ({data}).",
            "task": "classification",
            "architecture": ArchitectureSpec(name="classifier", config=config),
            "inputs": [_input("image", kind, statistics)],
            "window": 224,
            "licence": _PUBLISHER,
            "training": f"CoDe-MAE, classification on {data}, as published.",
        }
        found[f"classifier-{name}-{size}"] = Preset(contract, configure=_configure_classifier)
    return found


def _presets(size: str) -> dict[str, Preset]:
    damage = {"encoder": {"variant": size}, "pre": "optical", "post": "sar"}
    segmentation = {
        "name": f"upernet-loveda-{size}",
        "description": "Land cover of very-high-resolution optical images (UperNet on CoDe-MAE, LoveDA).",
        "task": "segmentation",
        "architecture": ArchitectureSpec(name="upernet", config={"encoder": {"variant": size}}),
        "inputs": [_input("image", _OPTICAL, _LOVEDA, unit=False, gsd=(0.3, 1.2))],
        "window": 512,
        "overlap": 0.5,
        "licence": _PUBLISHER,
        "training_data": [DataSource(name="LoveDA", licence="CC BY-NC-SA 4.0", attribution="Wang et al. 2021")],
        "training": "CoDe-MAE, segmentation on LoveDA train and val, as published.",
    }
    return {
        f"damageformer-{size}": Preset(
            _DAMAGE
            | {
                "name": f"damageformer-{size}",
                "architecture": ArchitectureSpec(name="damageformer", config=damage),
            }
        ),
        f"upernet-loveda-{size}": Preset(
            segmentation, left_out=_MMENGINE, configure=_configure_upernet, class_names=_LOVEDA_CLASSES
        ),
        **_classifiers(size),
        **_encoder(size),
    }


# ---------------------------------------------------------------- detection, as published with mmdetection

_DIOR = ([98.33, 101.306, 92.275], [51.038, 47.363, 47.672])
_SARDET = ([35.8299] * 3, [51.4447] * 3)
_DIOR_CLASSES = (
    *("airplane", "airport", "baseballfield", "basketballcourt", "bridge", "chimney", "dam"),
    *("Expressway-Service-area", "Expressway-toll-station", "golffield", "groundtrackfield", "harbor", "overpass"),
    *("ship", "stadium", "storagetank", "tenniscourt", "trainstation", "vehicle", "windmill"),
)
_SARDET_CLASSES = ("ship", "aircraft", "car", "tank", "bridge", "harbor")


def _configure_detector(state: Mapping[str, torch.Tensor], config: dict[str, Any]) -> dict[str, Any]:
    sensor = "sar" if any(k.startswith("backbone.patch_embed_sar.") for k in state) else "optical"
    return config | {"sensor": sensor, "num_classes": _rows(state, "roi_head.bbox_head.fc_cls.weight") - 1}


def _detectors(size: str) -> dict[str, Preset]:
    found = {}
    # images of SARDet-100K, mostly of 512 pixels, are enlarged to 800 for a test: so are windows of 512
    for name, title, kind, statistics, classes, window, more in (
        ("dior", "DIOR", _OPTICAL, _DIOR, _DIOR_CLASSES, 800, {}),
        ("sardet100k", "SARDet-100K", _SAR, _SARDET, _SARDET_CLASSES, 512, {"fit": [1333, 800]}),
    ):
        contract = {
            "name": f"faster-rcnn-{name}-{size}",
            "description": f"Objects of {len(classes)} classes (Faster R-CNN on CoDe-MAE, {title}).",
            "task": "object-detection",
            "architecture": ArchitectureSpec(name="faster-rcnn", config={"encoder": {"variant": size}, **more}),
            "inputs": [_input("image", kind, statistics, unit=False)],
            "window": window,
            "overlap": 0.25,
            "licence": _PUBLISHER,
            "training": f"CoDe-MAE, detection on {title}, as published.",
        }
        found[f"faster-rcnn-{name}-{size}"] = Preset(
            contract, left_out=_MMENGINE, configure=_configure_detector, class_names=classes
        )
    return found


# ---------------------------------------------------------------- DeCUR, Cross-Scale MAE

#: Sentinel-2 level 1C counts of 10,000 became 255 in training, and 0 to 255 became 0 to 1
_S2_INPUT = InputSpec(
    name="optical",
    family="optical",
    bands=list(SENSORS["sentinel-2-l1c"].bands),
    unit="reflectance",
    mean=[0.0] * 13,
    std=[1.0] * 13,
    gsd=(10, 10),
)
# decibels between two deviations below and above the mean became 0 to 1 (zhu-xlab/DeCUR; VV, VH of SSL4EO-S12)
_S1_INPUT = InputSpec(
    name="sar",
    family="sar",
    bands=["VV", "VH"],
    unit="db",
    mean=[-12.59 - 2 * 5.26, -20.26 - 2 * 5.91],
    std=[4 * 5.26, 4 * 5.91],
    gsd=(10, 10),
)
_DECUR_HEADS: LeftOut = {"projector": "projector", "bn.": "norm before the loss"}
_CROSS_SCALE_HEADS: LeftOut = {
    "decoder": "decoder",
    "mask_token": "decoder",
    "predictor.": "predictor between scales",
}


def _decur() -> dict[str, Preset]:
    found = {}
    for name, backbone, rda in (
        ("rn50", "resnet50", False),
        ("rn50-rda", "resnet50", True),
        ("vits16", "vit_small", False),
    ):
        streams: tuple[tuple[str, list[int]], ...] = (("", [1, 2]), ("-sar", [1]), ("-optical", [2]))
        for suffix, numbers in streams:
            inputs = [(_S1_INPUT, _S2_INPUT)[number - 1] for number in numbers]
            config = {
                "backbone": backbone,
                "channels": [spec.channels for spec in inputs],
                "sensors": [spec.family for spec in inputs],
                "streams": numbers,
                "rda": rda,
            }
            contract: dict[str, Any] = {
                "name": f"decur-{name}-ssl4eo{suffix}",
                "description": "Encoder of Sentinel-1 and Sentinel-2 images pretrained with DeCUR on SSL4EO-S12."
                if not suffix
                else f"Encoder of {inputs[0].family} images pretrained with DeCUR on SSL4EO-S12.",
                "task": "embedding",
                "architecture": ArchitectureSpec(name="decur-encoder", config=config),
                "inputs": inputs,
                "window": 224,
                "licence": _PUBLISHER,
                "training_data": [DataSource(name="SSL4EO-S12", licence="CC BY 4.0")],
                "training": "DeCUR on SSL4EO-S12, as published.",
                "limits": "A backbone: it draws no map. In training radar was cut at its 1 % and 99 % quantiles.",
            }
            # files of one stream have plain names, and with attention the prefix ``backbone.``
            place = f"backbone_{numbers[0]}."
            copies = {} if not suffix else {"backbone.": (place,)} if rda else {"": (place,)}
            left_out = {} if suffix else _DECUR_HEADS
            found[f"decur-{name}-ssl4eo{suffix}"] = Preset(contract, left_out=left_out, copies=copies)
    return found


def _cross_scale(norm_order: str) -> Preset:
    post = norm_order == "post"

    def rename(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if norm_order_of(state) != norm_order:
            other = "cross-scale-base" if post else "cross-scale-base-xformers"
            raise ModelError(
                "the checkpoint has the other order of norms",
                found="pre-norm blocks" if post else "post-norm blocks, as written with xFormers",
                expected=f"{norm_order}-norm blocks",
                hint=f"take the preset {other}",
            )
        return from_xformers(state) if post else dict(state)

    config = {"variant": "base", "img_size": 128, "norm_order": norm_order, "sensors": ["optical"]}
    contract: dict[str, Any] = {
        "name": "cross-scale-base" + ("-xformers" if post else ""),
        "description": "ViT-B/16 pretrained at two scales of every image with Cross-Scale MAE on fMoW-RGB.",
        "task": "embedding",
        "architecture": ArchitectureSpec(name="cross-scale-encoder", config=config),
        "inputs": [_input("optical", _OPTICAL, _FMOW)],
        "window": 128,
        "licence": _PUBLISHER,
        "training": "Cross-Scale MAE on fMoW-RGB, as published.",
        "limits": "A backbone: it draws no map.",
    }
    return Preset(contract, left_out=_CROSS_SCALE_HEADS, rename=rename)


PRESETS: dict[str, Preset] = {
    **_presets("base"),
    **_presets("large"),
    **_detectors("base"),
    **_decur(),
    "cross-scale-base": _cross_scale("pre"),
    "cross-scale-base-xformers": _cross_scale("post"),
}


class _Forgotten:
    """Stands for a training log in a checkpoint: nothing of it is kept, and nothing of its own code runs."""

    def __setstate__(self, state: object) -> None:
        pass


#: what stands beside the weights in published checkpoints and is safe to read: the arguments that trainers in MAE's
#: line keep, and the training log of mmengine, which is read into an object without content
_NUMPY = getattr(np, "_core", None) or np.core
_PLAIN: list[Any] = [
    argparse.Namespace,
    (_Forgotten, "mmengine.logging.history_buffer.HistoryBuffer"),
    np.ndarray,
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Int64DType,
    *(
        (function, f"numpy.{core}.multiarray.{name}")
        for name, function in (("_reconstruct", _NUMPY.multiarray._reconstruct), ("scalar", _NUMPY.multiarray.scalar))
        for core in ("core", "_core")
    ),
]


def read_checkpoint(path: str | Path) -> dict[str, torch.Tensor]:
    """The tensors of a ``.pth``, ``.pt`` or ``.safetensors`` file; nothing but tensors and plain values is unpickled.

    A state dict below ``state_dict``, ``model``, ``model_state_dict`` or ``teacher`` is found, and the prefixes
    ``module.`` and ``_orig_mod.`` of wrapped models are taken off.

    Raises:
        ModelError: the file is missing, no checkpoint, or holds something other than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"there is no checkpoint {path}")
    try:
        if path.suffix == ".safetensors":
            found: Any = load_file(path)
        else:
            with torch.serialization.safe_globals(_PLAIN):
                found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path.name} is not loaded",
            found="a pickle that holds more than tensors, or no checkpoint at all",
            expected="a checkpoint that torch.load(weights_only=True) reads",
            hint="save model.state_dict() alone in an environment that you trust, and convert that",
        ) from error
    except (SafetensorError, RuntimeError, ValueError, EOFError, OSError, zipfile.BadZipFile, KeyError) as error:
        raise ModelError(f"{path.name} cannot be read as a checkpoint: {str(error).splitlines()[0]}") from error
    for key in ("state_dict", "model", "model_state_dict", "teacher"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping):
        raise ModelError(f"{path.name} holds no state dict", found=type(found).__name__)
    state = {str(k): v for k, v in found.items() if isinstance(v, torch.Tensor)}
    if not state:
        raise ModelError(f"{path.name} holds no tensors", found=", ".join(map(str, list(found)[:5])) or "nothing")
    for prefix in ("_orig_mod.", "module."):
        if all(k.startswith(prefix) for k in state):
            state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state


def convert_checkpoint(
    source: str | Path,
    out: str | Path,
    preset: str,
    *,
    name: str | None = None,
    licence: str | None = None,
    classes: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Conversion:
    """Make a model package of a published checkpoint; every key of it is accounted for.

    Args:
        source: checkpoint, see :func:`read_checkpoint`.
        out: package to write.
        preset: a key of :data:`PRESETS`.
        name: name of the model; None takes the preset's.
        licence: licence of the weights; None says to ask the publisher.
        classes: names of the classes in the order of the outputs; None takes the preset's. Outputs beyond the last
            name are called "unused" (the SAR classifiers always have ten).
        overwrite: replace an existing package.

    Returns:
        The contract that was written, and where every key went.

    Raises:
        ModelError: unknown preset, unreadable checkpoint, class names that do not fit, or keys and shapes that differ
            (the first are named).
        OutputError: ``out`` exists, or cannot be written.
    """
    if preset not in PRESETS:
        raise ModelError(f"there is no preset {preset!r}", expected=", ".join(PRESETS))
    chosen = PRESETS[preset]
    source_state = read_checkpoint(source)
    if chosen.rename is not None:
        source_state = chosen.rename(source_state)
    state, used, left_out = _place(source_state, chosen)
    fields = dict(chosen.contract) | {k: v for k, v in (("name", name), ("licence", licence)) if v is not None}
    if chosen.configure is not None:
        architecture = fields["architecture"]
        config = chosen.configure(state, dict(architecture.config))
        fields["architecture"] = ArchitectureSpec(name=architecture.name, config=config)
        fields["classes"] = _class_table(classes or chosen.class_names, config["num_classes"], preset)
    elif classes is not None:
        raise ModelError(f"the preset {preset} has its own classes, or none", found=f"{len(classes)} names")
    contract = ModelContract.model_validate(fields)
    with torch.device("meta"):
        module = models.build(contract.architecture.name, contract.architecture.config)
    own = module.state_dict()
    # step counters of batch norm are bookkeeping; exports often leave them out
    made = [k for k in own if k.endswith("num_batches_tracked") and k not in state]
    state |= {k: torch.zeros(own[k].shape, dtype=own[k].dtype) for k in made}
    load_strict(module, {k: v.to("meta") for k, v in state.items()}, Path(source).name)
    save_package(out, state, contract, overwrite=overwrite)
    return Conversion(contract, used, left_out, made)


def _place(
    source: Mapping[str, torch.Tensor], preset: Preset
) -> tuple[dict[str, torch.Tensor], dict[str, list[str]], dict[str, str]]:
    """Entries by their name in the package, where each came from, and what is left out."""
    state: dict[str, torch.Tensor] = {}
    used: dict[str, list[str]] = {}
    left_out: dict[str, str] = {}
    for key, value in source.items():
        reason = next((why for prefix, why in preset.left_out.items() if key.startswith(prefix)), None)
        if reason is not None:
            left_out[key] = reason
            continue
        places = next((to for prefix, to in preset.copies.items() if key.startswith(prefix)), None)
        prefix = next((p for p in preset.copies if key.startswith(p)), "")
        used[key] = [key] if places is None else [place + key.removeprefix(prefix) for place in places]
        state |= dict.fromkeys(used[key], value)
    return state, used, left_out


def _class_table(names: Sequence[str], outputs: int, preset: str) -> list[ClassSpec]:
    if not names or len(names) > outputs:
        raise ModelError(
            f"a package of the preset {preset} needs the names of its classes",
            found=f"{len(names)} names for {outputs} outputs",
            expected=f"up to {outputs} names in the order of the outputs",
        )
    full = [*names, *(f"unused {i}" for i in range(len(names), outputs))]
    return [
        ClassSpec(value=i, name=n, color=STANDARD_COLORS[i % len(STANDARD_COLORS)], background=n == "background")
        for i, n in enumerate(full)
    ]
