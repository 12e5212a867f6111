"""Evaluation: the bundled card's figures, groups, both rules of damage, calibration, and what people will see."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from codemae_train import evaluate as ev
from safetensors.torch import load_file
from support.copies import make
from support.packages import make_detector, make_encoder
from support.scenes import make_model, run_codemae

from codemae_geo import load_model
from codemae_geo.errors import InputError, ModelError
from codemae_geo.inference.device import choose_runtime
from codemae_geo.vector.buildings import class_confidence, class_score
from codemae_geo.weights.package import read_contract
from codemae_geo.weights.registry import TO_TRY


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "damage.safetensors", "sar")


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make("bright", tmp_path_factory.mktemp("bright"))


@pytest.fixture(scope="module")
def scored(model: Path, bright: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("scored") / "out"
    return out, ev.evaluate(model, "bright", out, root=bright, split="train")


@pytest.mark.slow
def test_the_bundled_card_comes_out_exactly(shared: Path, tmp_path: Path) -> None:
    found = ev.evaluate("damage-tiny-optical", "joplin", tmp_path / "out", root=shared / "data" / "joplin")
    contract = load_model("damage-tiny-optical").contract
    assert {m["name"] for m in found["card"]} == {m.name for m in contract.metrics}
    assert all(m["equal"] for m in found["card"]), found["card"]
    houses = found["figures"]["ungated"]["buildings"]
    assert houses["left_out"]["ece"] <= 0.1
    assert houses["left_out"]["error_of_least_certain_fifth_to_average"] >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", TO_TRY)
def test_the_cards_of_packages_to_try_come_out_exactly(name: str, shared: Path, tmp_path: Path) -> None:
    found = ev.evaluate(name, "joplin", tmp_path / "out", root=shared / "data" / "joplin")
    contract = load_model(name).contract
    assert {m["name"] for m in found["card"]} == {m.name for m in contract.metrics}
    assert all(m["equal"] for m in found["card"]), found["card"]
    assert "predictions" in found["list"]["note"]
    assert ("simulated" in found["list"]["note"]) == ("SIMULATED" in contract.description)


def test_counts_are_of_the_labels(scored: tuple[Path, dict[str, Any]], bright: Path) -> None:
    from codemae_datasets.public import open_dataset

    out, found = scored
    data = open_dataset("bright", bright, split="train")
    masks = torch.cat([data[i]["mask"].flatten() for i in range(len(data))])
    per_class = found["figures"]["ungated"]["per_class"]
    assert [c["pixels"] for c in per_class.values()] == [int((masks == k).sum()) for k in range(4)]
    assert found["figures"]["images"] == len(data)
    assert json.loads((out / "metrics.json").read_text()) == json.loads(json.dumps(found))
    events = {g for g in found["groups"] if g.startswith("event: ")}
    assert events == {f"event: {item.name.rsplit('_', 1)[0]}" for item in data.items}
    assert sum(found["groups"][g]["images"] for g in events) == len(data)
    assert {"ungated", "gated"} <= found["figures"].keys()
    assert "pooling" in found["metric_form"] and found["checkpoint"]


def test_the_page_needs_nothing_else(scored: tuple[Path, dict[str, Any]]) -> None:
    text = (scored[0] / "report.html").read_text()
    assert not re.search(r"(src|href)=[\"'](?!data:)", text) and "<script" not in text
    for words in ("Damage head alone", "Gated by", "confidence mean", "Labels and answers", "truth"):
        assert words in text


def test_published_windows_average_logits(model: Path, bright: Path, tmp_path: Path) -> None:
    package = load_model(model)
    contract = package.contract.model_copy(update={"window": 32})
    case = next(iter(ev.open_cases("bright", contract, root=bright, split="train")))
    runtime = choose_runtime("cpu", "float32")
    out = ev.answer(package.module, contract, case, "published", runtime)
    from codemae_geo.inference.slide import slide

    _, damage = slide(package.module, *ev.normalised(case, contract, runtime.device), window=32, stride=16)
    torch.testing.assert_close(out.classes, damage[0].softmax(0))
    engine = ev.answer(package.module, contract, case, "engine", runtime)
    assert engine.classes.sum(0).allclose(torch.ones(()), atol=1e-4)
    known = int((case.label != 255).sum())
    assert len(engine.logits) == len(engine.places) == min(known, ev.SAMPLED)  # each sampled pixel once
    assert len(engine.places.unique()) == len(engine.places)


def test_buildings_follow_the_rule_of_the_tool() -> None:
    contract = load_model("damage-tiny-optical").contract
    regions = np.zeros((8, 16), int)
    regions[:, :6], regions[:, 10:] = 1, 2
    truth = np.where(regions == 1, 1, np.where(regions == 2, 3, 0)).astype(np.uint8)
    found = truth.copy()
    found[:, 10:] = 0  # the second is not seen
    likely = np.full((4, 8, 16), 0.1, np.float32)
    likely[1, :, :6] = 0.7
    likely[0, :, 10:] = 0.7
    rows = ev.building_rows(regions, truth, found, likely.max(0), likely, contract.class_table)
    assert rows[:, :2].tolist() == [[1, 1], [3, 0]]
    assert rows[:, 3] == pytest.approx([0.7, 0.7])
    assert rows[:, 4] == pytest.approx([0.7 / 0.9, 0])


def test_the_confidence_of_a_building() -> None:
    table = load_model("damage-tiny-optical").contract.class_table
    evidence, chosen = np.array([[9.0, 3, 1, 0], [9, 0, 1, 1], [9, 1, 0, 0]]), np.array([1, 2, 0])
    assert class_score(evidence, chosen, table) == pytest.approx([0.75, 0.5, 0])
    assert class_confidence(evidence, chosen, table, (1.0, 0.0)) == pytest.approx([0.75, 0.5, 0.02])
    assert class_confidence(evidence, chosen, table, (0.0, 0.0)) == pytest.approx([0.5] * 3)


def test_a_calibration_is_saved_where_it_helps(model: Path) -> None:
    contract = read_contract(model)
    better, worse = {"ece": 0.05, "slope": 0.8, "intercept": -0.1}, {"ece": 0.3, "slope": 0.8, "intercept": 0.0}
    said = {"list": {"dataset": "x", "split": "y"}}
    rule = "gated" if contract.localisation == "gate" else "ungated"
    for left, used in ((better, True), (worse, False)):
        figures = {rule: {"buildings": {"count": 9, "mean_f1": 0.5, "left_out": left, "pixel_mean": {"ece": 0.1}}}}
        temperature = {"fitted": 2.0, "ece_fitted": left["ece"], "ece_contract": 0.1}
        done = ev.calibrated(contract, said | {"figures": figures, "temperature": temperature})
        assert (done.temperature == 2.0) is used
        assert (done.building_calibration is not None) is used


def test_scenes_with_labels(tmp_path: Path) -> None:
    import geopandas as gpd
    import rasterio
    from shapely.geometry import box
    from support.scenes import write_raster

    scene = {name: write_raster(tmp_path / f"{name}.tif", seed=i) for i, name in enumerate(("pre", "post"), 1)}
    with rasterio.open(scene["pre"]) as file:
        left, top, step, crs = *file.transform * (0, 0), file.transform.a, file.crs
    places = [
        box(left + (8 + 20 * i) * step, top - 30 * step, left + (18 + 20 * i) * step, top - 20 * step) for i in range(4)
    ]
    labels = gpd.GeoDataFrame({"damage": ["no-damage", "minor", "destroyed", "destroyed"]}, geometry=places, crs=crs)
    labels.to_crs("EPSG:4326").to_file(tmp_path / "labels.gpkg")
    model = make_model(tmp_path / "damage.safetensors")
    scenes = {name: [path] for name, path in scene.items()}
    found = ev.evaluate(model, None, tmp_path / "out", scenes=scenes, labels=tmp_path / "labels.gpkg", column="damage")
    counts = {n: c["pixels"] for n, c in found["figures"]["ungated"]["per_class"].items()}
    assert counts["background"] == 0 and counts["intact"] == pytest.approx(100, abs=12)
    assert counts["destroyed"] == pytest.approx(200, abs=24)
    assert found["figures"]["ungated"]["absent"] == ["background"]
    assert found["figures"]["gated"]["buildings"]["buildings"] == {"intact": 1, "damaged": 1, "destroyed": 2}
    by_outline = ev.evaluate(
        model, None, tmp_path / "two", scenes=scenes, labels=tmp_path / "labels.gpkg", column="damage",
        footprints=tmp_path / "labels.gpkg",
    )  # fmt: skip
    assert by_outline["figures"]["ungated"]["buildings"]["count"] == 4


def test_segmentation_and_classification(tmp_path: Path) -> None:
    from support.packages import inputs
    from support.scenes import SMALL

    from codemae_geo import models
    from codemae_geo.weights import ArchitectureSpec, ClassSpec, ModelContract, save_package

    made = {"loveda": ("segmenter", "segmentation", 7, "val"), "mstar": ("classifier", "classification", 10, "test")}
    for name, (architecture, task, count, split) in made.items():
        root = make(name, tmp_path / name)
        family = "optical" if name == "loveda" else "sar"
        config: dict[str, Any] = {"encoder": SMALL, "num_classes": count}
        if name == "mstar":
            config = {**SMALL, "num_classes": count, "modality": "SAR"}
        contract = ModelContract(
            name="random", description="Random.", task=task,  # type: ignore[arg-type]
            architecture=ArchitectureSpec(name=architecture, config=config), inputs=inputs(family),
            classes=[ClassSpec(value=i, name=f"c{i}", color="#112233") for i in range(count)],
            window=32, licence="Apache-2.0",
        )  # fmt: skip
        torch.manual_seed(0)
        path = save_package(tmp_path / f"{name}.safetensors", models.build(architecture, config).state_dict(), contract)
        found = ev.evaluate(path, name, tmp_path / f"{name}-out", root=root, split=split, limit=3)
        assert found["figures"]["images"] <= 3 and found["list"]["split"].startswith(split)
        if name == "mstar":
            assert 0 <= found["figures"]["accuracy"] <= 1 and found["figures"]["absent"]
        else:
            assert "gated" not in found["figures"] and found["figures"]["ungated"]["confusion"]


def test_detection(tmp_path: Path) -> None:
    from codemae_datasets.public import open_dataset

    from codemae_geo.weights import ClassSpec

    root = make("dior", tmp_path / "dior")
    data = open_dataset("dior", root, split="test")
    classes = [ClassSpec(value=i, name=name, color="#112233") for i, name in enumerate(data.classes)]
    model = make_detector(tmp_path / "d.safetensors", classes=classes)
    found = ev.evaluate(model, "dior", tmp_path / "out", root=root, split="test")
    assert found["figures"]["images"] == len(data)
    assert found["figures"]["objects"] == sum(len(data[i]["label"]) for i in range(len(data)))
    assert 0 <= found["figures"]["map50"] <= 1
    assert found["figures"]["ap"]["airplane"] is None  # no such object in these images
    assert "Objects (COCO)" in (tmp_path / "out" / "report.html").read_text()


def test_clear_answers(model: Path, bright: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no dataset"):
        ev.evaluate(model, "brigt", tmp_path / "a", root=bright)
    with pytest.raises(InputError, match="other classes"):
        ev.evaluate(model, "loveda", tmp_path / "b", root=make("loveda", tmp_path / "loveda"), split="val")
    with pytest.raises(ModelError, match="cannot be evaluated"):
        ev.evaluate(make_encoder(tmp_path / "e.safetensors"), "bright", tmp_path / "c", root=bright)
    assert not any((tmp_path / part).exists() for part in "abc")
    wrong = run_codemae("evaluate", model, "--pre", "x.tif", "-o", tmp_path / "d")
    assert wrong.code == 1 and "do not go together" in wrong.err


def test_the_command_and_a_saved_calibration(model: Path, bright: Path, tmp_path: Path) -> None:
    result = run_codemae(
        *("evaluate", model, "bright", "--root", bright, "--split", "train", "-o", tmp_path / "out"),
        *("--save", tmp_path / "new.safetensors"),
    )
    assert result.code == 0, result.err
    assert "ungated: mIoU" in result.out and "gated: mIoU" in result.out
    assert (tmp_path / "out" / "report.html").exists()
    first, second = load_file(model), load_file(tmp_path / "new.safetensors")
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert read_contract(tmp_path / "new.safetensors").name == read_contract(model).name
