"""What `codemae doctor --json` tells a program about the installation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import constants
from support.scenes import Result

from codemae_geo.weights.registry import cached_models


def test_a_program_learns_all_it_shows(codemae: Callable[..., Result]) -> None:
    report = codemae("doctor", "--json").json
    assert report["protocol"] == 1 and report["version"]
    assert Path(report["python"]["executable"]).exists()
    assert list(report["device_names"]) == report["devices"] and all(report["device_names"].values())
    package = next(p for p in report["packages"] if p["name"] == "damage-tiny-optical")
    assert (package["task"], package["sensors"], package["origin"]) == ("damage", ["optical", "optical"], "bundled")
    assert report["models"] == [p["name"] for p in report["packages"]]
    assert report["free_bytes"] > 0 and report["home"]


def test_packages_of_the_hub_cache_are_found(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert cached_models() == []
    revision = "3f2a9c1" * 5 + "3f2a9"
    snapshot = tmp_path / "hub/models--owner--damage/snapshots" / revision
    blobs = tmp_path / "hub/models--owner--damage/blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "a").write_bytes(model.read_bytes())
    (blobs / "b").write_bytes(b"of another program")
    (snapshot / "model.safetensors").symlink_to(blobs / "a")
    (snapshot / "sar.safetensors").symlink_to(blobs / "a")
    (snapshot / "other.safetensors").symlink_to(blobs / "b")
    address = f"hf:owner/damage@{revision}"
    assert [(m.name, m.origin) for m in cached_models()] == [
        (address, "hub cache"),
        (f"{address}/sar.safetensors", "hub cache"),
    ]
