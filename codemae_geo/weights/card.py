"""A model's contract as a card for people and as a STAC item with the Machine Learning Model extension 1.5."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pystac

from codemae_geo.tasks import TASKS
from codemae_geo.weights.contract import InputSpec, ModelContract, file_sha256, read_contract

MLM_SCHEMA = "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"
CLASSIFICATION_SCHEMA = "https://stac-extensions.github.io/classification/v2.0.0/schema.json"
FILE_SCHEMA = "https://stac-extensions.github.io/file/v2.1.0/schema.json"


def card_text(contract: ModelContract) -> str:
    """The card as Markdown."""
    lines = [f"# {contract.name} {contract.version}", "", contract.description, ""]
    lines += [f"**Caution:** {contract.caution}", ""] if contract.caution else []
    lines += [f"- task: {contract.task}", f"- licence: {contract.licence}"]
    lines += [f"- architecture: {contract.architecture.name} {contract.architecture.config}"]
    lines += [f"- window: {contract.window} pixels, overlap {contract.overlap:.0%}", "", "## Inputs", ""]
    for spec in contract.inputs:
        gsd = f", {spec.gsd[0]:g} to {spec.gsd[1]:g} m per pixel" if spec.gsd else ""
        lines.append(f"- {spec.name}: {spec.family}, bands {', '.join(spec.bands)}, unit {spec.unit}{gsd}")
    if contract.classes:
        lines += ["", "## Classes", ""]
        lines += [f"- {c.value} {c.name} ({c.color})" for c in contract.classes]
    if contract.metrics:
        lines += ["", "## Measured", "", "| metric | value | on |", "| --- | --- | --- |"]
        lines += [f"| {m.name} | {m.value:.4g} | {m.split} |" for m in contract.metrics]
    if contract.building_calibration:
        lines += ["", f"Confidence of buildings: fitted on {contract.building_calibration.split}."]
    if contract.limits:
        lines += ["", "## Limits", "", contract.limits]
    if contract.training or contract.training_data:
        lines += ["", "## Training", ""]
        lines += [contract.training, ""] if contract.training else []
        lines += [
            f"- {d.name}: {d.licence}" + (f"; {d.attribution}" if d.attribution else "") for d in contract.training_data
        ]
    return "\n".join(lines) + "\n"


def stac_item(path: str | Path, *, now: datetime | None = None) -> dict[str, Any]:
    """The package as a STAC item with MLM 1.5 fields, and the file as its asset with its checksum.

    Args:
        path: package.
        now: ``datetime`` of the item; None is the present.

    Raises:
        ModelError: the file is no package.
    """
    path = Path(path)
    contract = read_contract(path)
    boxes = TASKS[contract.task].decoding == "boxes"
    outputs: dict[str, Any] = {
        "name": contract.task,
        "tasks": [TASKS[contract.task].stac],
        "result": {
            "shape": [-1, -1, 4] if boxes else [-1, len(contract.classes) or -1, contract.window, contract.window],
            "dim_order": ["batch", "box", "side"] if boxes else ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
    }
    if contract.classes:
        outputs["classification:classes"] = [
            {"value": c.value, "name": c.name, "color_hint": c.color.removeprefix("#")} for c in contract.classes
        ]
    item = pystac.Item(
        id=f"{contract.name}-{contract.version}",
        geometry=None,
        bbox=None,
        datetime=now or datetime.now(UTC),
        properties={
            "description": contract.description,
            "license": contract.licence,
            "mlm:name": contract.name,
            "mlm:architecture": contract.architecture.name,
            "mlm:tasks": [TASKS[contract.task].stac],
            "mlm:framework": "pytorch",
            "mlm:accelerator_constrained": False,
            "mlm:input": [_mlm_input(spec, contract.window) for spec in contract.inputs],
            "mlm:output": [outputs],
            "mlm:hyperparameters": {"overlap": contract.overlap, **contract.architecture.config},
        },
        stac_extensions=[MLM_SCHEMA, CLASSIFICATION_SCHEMA, FILE_SCHEMA],
    )
    item.add_asset(
        "model",
        pystac.Asset(
            href=path.name,
            title=contract.name,
            media_type="application/octet-stream; application=safetensors",
            roles=["mlm:model", "mlm:weights"],
            extra_fields={
                "mlm:artifact_type": "safetensors.torch.save_file",
                # multihash: 0x12 is SHA-256, 0x20 its length
                "file:checksum": "1220" + file_sha256(path),
                "file:size": path.stat().st_size,
            },
        ),
    )
    return item.to_dict(include_self_link=False)


def _mlm_input(spec: InputSpec, window: int) -> dict[str, Any]:
    return {
        "name": spec.name,
        "bands": spec.bands,
        "input": {
            "shape": [-1, spec.channels, window, window],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": [
            # MLM scales the stored value; our mean and std are those of value x scale
            {"type": "z-score", "mean": m / spec.scale, "stddev": s / spec.scale}
            for m, s in zip(spec.mean, spec.std, strict=True)
        ],
        "resize_type": None,
        "pre_processing_function": None,
    }
