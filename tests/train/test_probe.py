"""The linear probe and nearest neighbours against the published programs' numbers, and whole runs on small folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from codemae_train import probe
from PIL import Image
from safetensors.torch import load_file
from support.copies import make
from support.packages import make_encoder
from support.scenes import run_codemae
from support.towns import make_images

from codemae_geo.errors import InputError, ModelError
from codemae_geo.metrics.features import average_precision
from codemae_geo.models.probe import LinearProbe, knn_scores, nearest


def test_linear_probe_numbers(shared: Path) -> None:
    data = load_file(shared / "reference" / "linear_probe.safetensors")
    numbers = json.loads((shared / "reference" / "linear_probe.json").read_text())
    head = LinearProbe(48, 6)
    assert list(head.state_dict()) == numbers["state_dict_keys"]
    head[1].load_state_dict({k: data[f"weights.head.1.{k}"] for k in ("weight", "bias")})
    losses = []
    for epoch, loss in probe.linear_steps(head, data["features"], data["labels"]):
        losses.append(loss)
        if epoch in (0, 2):
            for name in ("weight", "bias"):
                expected = data[f"{name}_after_{epoch + 1}"]
                torch.testing.assert_close(getattr(head[1], name).data, expected, rtol=1e-4, atol=1e-5)
        if epoch == 0:
            torch.testing.assert_close(head[0].running_mean, data["train.running_mean_after_1"], rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(head[0].running_var, data["train.running_var_after_1"], rtol=1e-4, atol=1e-6)
    assert losses == pytest.approx(numbers["losses_by_epoch"], rel=1e-5)
    torch.testing.assert_close(head[1].weight.data, data["weight_final"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head[0].running_var, data["running_var_final"], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        logits = head.eval()(data["test_features"])
    torch.testing.assert_close(logits, data["test.logits_final"], rtol=1e-4, atol=1e-4)
    found = probe.score(logits, data["test_labels"])
    assert found["map"] == pytest.approx(numbers["test_micro_mAP"], abs=1e-3)
    assert found["f1"] == pytest.approx(numbers["test_micro_F1_at_0.5"], abs=1e-3)
    each = average_precision(logits, data["test_labels"])
    assert 100 * np.mean(each) == pytest.approx(numbers["test_macro_mAP"], abs=1e-3)


def test_knn_numbers(shared: Path) -> None:
    data = load_file(shared / "reference" / "knn_classifier.safetensors")
    numbers = json.loads((shared / "reference" / "knn_classifier.json").read_text())
    similarity, rows = nearest(data["test_features"], data["train_features"], numbers["k"])
    torch.testing.assert_close(similarity, data["similarities"], rtol=1e-4, atol=1e-6)
    assert torch.equal(rows, data["neighbours"])
    scores = knn_scores(data["test_features"], data["train_features"], data["train_labels"], numbers["k"])
    torch.testing.assert_close(scores, data["class_weights"], rtol=1e-4, atol=1e-3)
    assert torch.equal(scores.argmax(1), data["predictions"])
    train, test = ((data[f"{part}_features"], data[f"{part}_labels"]) for part in ("train", "test"))
    assert probe.knn_probe(train, test, 7)["last"]["accuracy"] == pytest.approx(100 * numbers["accuracy_weighted"])


def test_published_shots(shared: Path) -> None:
    listed = json.loads((shared / "reference" / "downstream_metrics.json").read_text())["kshot"]
    for seed, expected in listed["first_60_of_seed"].items():
        assert probe.few(listed["names"], listed["classes"], listed["k"], int(seed)) == expected
    assert probe.few(100, 6, 0.25, 0) == listed["first_60_of_seed"]["0"][:25]
    assert probe.few(5, 3, None, 2) == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match="66 images"):
        probe.few(60, 6, 11, 0)


# ---------------------------------------------------------------- whole runs


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes that differ in brightness, 20 images each, 40 x 40."""
    return make_images(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder") / "encoder.safetensors")


def run(model: Any, source: Path, cache: Path | None = None, **options: Any) -> dict[str, Any]:
    return probe.probe(model, str(source), size=64, epochs=10, cache=cache, **options)


def test_a_folder_of_classes(folder: Path, encoder: Path, tmp_path: Path) -> None:
    first = run(encoder, folder, tmp_path, seeds=2)
    assert {row["method"] for row in first["rows"]} == {"linear", "knn"}
    assert first["list"] == {"train": "four fifths (32)", "evaluation": "one fifth (8)"}
    for row in first["rows"]:
        assert row["best"]["mean"] >= row["last"]["mean"] and row["metric"] == "accuracy"
    assert first["rows"][0]["best"]["mean"] > 80  # brightness tells the classes apart
    held = sorted(tmp_path.iterdir())
    times = [p.stat().st_mtime_ns for p in held]
    assert len(held) == 2
    assert run(encoder, folder, tmp_path, seeds=2)["rows"] == first["rows"]
    assert sorted(tmp_path.iterdir()) == held and [p.stat().st_mtime_ns for p in held] == times  # nothing recomputed


def test_the_cache_knows_a_changed_image(folder: Path, encoder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / folder.name)
    run(encoder, copy, tmp_path / "cache", methods=("knn",))
    before = len(list((tmp_path / "cache").iterdir()))
    Image.new("RGB", (40, 40)).save(copy / "dark" / "0.png")
    run(encoder, copy, tmp_path / "cache", methods=("knn",))
    assert len(list((tmp_path / "cache").iterdir())) > before


def test_shots_and_a_timm_model(folder: Path) -> None:
    found = run("timm:codemae_tiny", folder, shots=(3, 0.5), seeds=3, methods=("linear",))
    assert [(row["shots"], row["images"], len(row["runs"])) for row in found["rows"]] == [(3, 6, 3), (0.5, 16, 3)]
    with pytest.raises(InputError, match="40 images"):
        run("timm:codemae_tiny", folder, shots=(20,), methods=("knn",))


def test_a_paired_public_dataset(tmp_path: Path, encoder: Path) -> None:
    root = make("dfc20", tmp_path)
    found = probe.probe(encoder, "dfc20", root=root, size=64, epochs=5, seeds=1, methods=("linear",))
    assert found["modality"] == "optical+sar" and found["list"]["train"].startswith("test (")
    assert {row["metric"] for row in found["rows"]} == {"map", "f1"}
    alone = probe.probe(encoder, "dfc20", root=root, size=64, epochs=5, seeds=1, modality="sar", methods=("linear",))
    assert alone["modality"] == "sar"


def test_clear_answers(folder: Path, encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a folder nor a public dataset"):
        run(encoder, Path("nowhere"))
    with pytest.raises(InputError, match="sar cannot be probed"):
        run(encoder, folder, modality="sar")
    with pytest.raises(ModelError, match="timm cannot make"):
        run("timm:no_such_model", folder)
    (tmp_path / "one").mkdir()
    with pytest.raises(InputError, match="not a folder of classes"):
        run(encoder, tmp_path)
    with pytest.raises(InputError, match="has no folder"):
        run(encoder, folder, splits=("train", None))


def test_the_command(folder: Path, encoder: Path, tmp_path: Path) -> None:
    arguments = ("probe", encoder, folder, "--size", "32", "--epochs", "5", "--seeds", "2", "--cache", tmp_path / "c")
    result = run_codemae(*arguments, "-o", tmp_path / "probe.json")
    assert result.code == 0, result.err
    assert "±" in result.out and "linear" in result.out
    written = json.loads((tmp_path / "probe.json").read_text())
    assert written["checkpoint"]["best"].startswith("published") and len(written["rows"]) == 2
    again = run_codemae(*arguments, "-o", tmp_path / "probe.json")
    assert again.code == 1 and "exists" in again.err
