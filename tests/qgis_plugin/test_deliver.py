"""Files reach their destinations whole, all or none."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from codemae_qgis import deliver
from codemae_qgis.deliver import Delivery, folder_problem
from codemae_qgis.engine.errors import EngineError


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A raster with its side-cars, as the engine leaves them."""
    folder = tmp_path / "engine"
    folder.mkdir()
    for name in ("damage.tif", "damage.tif.aux.xml", "damage.qml"):
        (folder / name).write_text(f"new {name}")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_raster_travels_with_its_sidecars(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "Karten für Zoë"
    out.mkdir()
    with Delivery() as delivery:
        delivery.raster(str(made / "damage.tif"), str(out / "my map.tif"))
        assert not (out / "my map.tif").exists()
        delivery.commit([str(out / "my map.tif")])
    assert names(out) == ["my map.qml", "my map.tif", "my map.tif.aux.xml"]
    assert (out / "my map.qml").read_text() == "new damage.qml"


def test_nothing_is_left_without_commit(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(RuntimeError), Delivery() as delivery:
        delivery.raster(str(made / "damage.tif"), str(out / "a.tif"))
        raise RuntimeError("cancelled")
    assert names(out) == []


def test_a_folder_is_made_when_its_first_file_comes(made: Path, tmp_path: Path) -> None:
    target = str(tmp_path / "run 1" / "a.tif")
    with pytest.raises(RuntimeError), Delivery() as delivery:
        delivery.raster(str(made / "damage.tif"), target)
        raise RuntimeError("cancelled")
    assert not (tmp_path / "run 1").exists()
    with Delivery() as delivery:
        delivery.raster(str(made / "damage.tif"), target)
        delivery.commit([target])
    assert names(tmp_path / "run 1") == ["a.qml", "a.tif", "a.tif.aux.xml"]
    with pytest.raises(EngineError, match=r"none.*cannot be written to"), Delivery() as delivery:
        delivery.place(str(tmp_path / "none" / "run 1" / "a.tif"))
    assert not (tmp_path / "none").exists()


def test_sidecars_of_a_former_file_go(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("a.tif", "a.tif.aux.xml", "a.qml", "a.qmd", "a.tif.ovr", "b.gpkg", "b.gpkg-wal", "b.qml", "other.qml"):
        (out / name).write_text("old")
    (made / "damage.qml").unlink()
    with Delivery() as delivery:
        delivery.raster(str(made / "damage.tif"), str(out / "a.tif"))
        Path(delivery.place(str(out / "b.gpkg"))).write_text("new")
        delivery.commit([str(out / "a.tif"), str(out / "b.gpkg")])
    assert names(out) == ["a.tif", "a.tif.aux.xml", "b.gpkg", "other.qml"]
    assert (out / "a.tif").read_text() == "new damage.tif"
    assert (out / "other.qml").read_text() == "old"


def test_a_file_in_use_takes_everything_back(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.tif").write_text("old")
    (out / "b.tif").write_text("old")
    real = deliver.os.replace

    def replace(source: str, target: str) -> None:
        if target == str(out / "b.tif") and ".old" not in source:
            raise PermissionError(errno.EACCES, "in use by another process")
        real(source, target)

    monkeypatch.setattr(deliver.os, "replace", replace)
    with (
        pytest.raises(EngineError, match=r"b\.tif cannot be replaced \(in use.*Close the program"),
        Delivery() as delivery,
    ):
        for name in ("a.tif", "b.tif", "c.tif"):
            delivery.raster(str(made / "damage.tif"), str(out / name))
        delivery.commit([str(out / n) for n in ("a.tif", "b.tif", "c.tif")])
    assert names(out) == ["a.tif", "b.tif"]
    assert [(out / n).read_text() for n in names(out)] == ["old", "old"]


def test_full_disk(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: str, target: str) -> None:
        Path(target).write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(deliver.shutil, "copyfile", full)
    (tmp_path / "out").mkdir()
    with pytest.raises(EngineError, match=r"The disk that holds .* is full"), Delivery() as delivery:
        delivery.raster(str(made / "damage.tif"), str(tmp_path / "out" / "a.tif"))
    assert names(tmp_path / "out") == []


def test_folders_that_cannot_hold_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    assert folder_problem(str(tmp_path / "a.tif")) == ""
    assert "does not exist; create it" in folder_problem(str(tmp_path / "gone" / "a.tif"))
    assert "is a file, not a folder" in folder_problem(str(tmp_path / "file" / "a.tif"))
    assert "is a folder" in folder_problem(str(tmp_path))

    def refuse(*args: object, **kwargs: object) -> str:
        raise PermissionError(errno.EACCES, "Permission denied")

    # the tests may run as root, who may write anywhere
    monkeypatch.setattr(deliver.tempfile, "mkdtemp", refuse)
    assert "cannot be written to" in folder_problem(str(tmp_path / "a.tif"))
    with pytest.raises(EngineError, match=r"cannot be written to.*Choose another folder"):
        Delivery().place(str(tmp_path / "a.tif"))
