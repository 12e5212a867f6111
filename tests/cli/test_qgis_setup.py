"""`codemae qgis-setup` on profiles made here, and QGIS itself reading the settings back."""

from __future__ import annotations

import doctest
import json
import os
import stat
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import codemae_cli.ini
import pytest
from codemae_cli import ini, qgis
from hypothesis import given
from hypothesis import strategies as st
from support.scenes import Result

from codemae_geo.errors import InputError, OutputError

SETTINGS = (
    "[PythonPlugins]\r\nother=true\r\n\r\n[UI]\r\nstate=@ByteArray(\\0\\0\\x1 \xff)\r\nlist=1, 2\r\n\r\n"
    '[qgis]\r\nname="a;b"\r\n'
).encode("latin-1")
METADATA = "[general]\nname=CoDe-MAE\nversion={}\nabout=100 % local\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What QGIS's ``--profiles-path`` names: two profiles, of which ``work ü`` is the default."""
    for name in ("default", "work ü"):
        settings = tmp_path / "qgis/profiles" / name / "QGIS/QGIS3.ini"
        settings.parent.mkdir(parents=True)
        settings.write_bytes(SETTINGS)
    (tmp_path / "qgis/profiles/profiles.ini").write_text("[core]\ndefaultProfile=work ü\n", encoding="utf-8")
    return tmp_path / "qgis"


def make_plugin(folder: Path, version: str = "1.0", name: str = qgis.PLUGIN) -> Path:
    plugin = folder / name
    (plugin / "engine").mkdir(parents=True)
    (plugin / "__init__.py").write_text("")
    (plugin / "engine/runner.py").write_text(f"VERSION = {version!r}\n")
    (plugin / "metadata.txt").write_text(METADATA.format(version))
    (plugin / "__pycache__").mkdir()
    (plugin / "__pycache__/a.pyc").write_bytes(b"\0")
    return plugin


def make_zip(path: Path, plugin: Path, **more: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(plugin.rglob("*.[pt]*")):
            archive.write(file, f"{plugin.name}/{file.relative_to(plugin).as_posix()}")
        for name, text in more.items():
            archive.writestr(name, text)
    return path


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(codemae_cli.ini).failed == 0


def test_a_plugin_is_installed_upgraded_and_removed(root: Path, tmp_path: Path) -> None:
    profile = qgis.find_profile(root=root)
    assert profile.folder.name == "work ü"
    first = qgis.install(profile, "/opt/ü b/python", make_plugin(tmp_path / "1"))
    assert (first["version"], first["previous"], first["warnings"]) == ("1.0", None, [])
    assert (profile.plugin / "engine/runner.py").is_file() and not (profile.plugin / "__pycache__").exists()
    data = profile.settings.read_bytes()
    assert b"codemae_qgis=true\r\n" in data and b"[codemae_geo]\r\nruntime_python=/opt/\\xfc b/python\r\n" in data
    (profile.plugin / "stale.py").write_text("")
    second = qgis.install(profile, "/opt/ü b/python", make_zip(tmp_path / "p.zip", make_plugin(tmp_path / "2", "2.0")))
    assert (second["version"], second["previous"]) == ("2.0", "1.0")
    assert "2.0" in (profile.plugin / "engine/runner.py").read_text() and not (profile.plugin / "stale.py").exists()
    assert profile.settings.read_bytes() == data
    assert [p.name for p in profile.plugin.parent.iterdir()] == [qgis.PLUGIN]
    removed = qgis.uninstall(profile)
    assert removed["previous"] == "2.0" and not profile.plugin.exists()
    assert profile.settings.read_bytes() == SETTINGS
    assert qgis.uninstall(profile)["changes"] == []
    assert (root / "profiles/default/QGIS/QGIS3.ini").read_bytes() == SETTINGS


def test_the_plugin_of_the_source_tree_comes_with_its_translations(root: Path) -> None:
    profile = qgis.find_profile(root=root)
    qgis.install(profile, "/opt/python", qgis.shipped_plugin())
    assert {p.name for p in (profile.plugin / "i18n").iterdir()} == {"codemae_qgis_de.qm"}


def test_a_dry_run_changes_nothing(root: Path, tmp_path: Path) -> None:
    plugin = make_plugin(tmp_path / "1")
    before = sorted(root.rglob("*"))
    report = qgis.install(qgis.find_profile(root=root), "/opt/python", plugin, dry_run=True)
    assert len(report["changes"]) == 3 and sorted(root.rglob("*")) == before
    qgis.install(qgis.find_profile(root=root), "/opt/python", plugin)
    before = sorted(root.rglob("*"))
    assert len(qgis.uninstall(qgis.find_profile(root=root), dry_run=True)["changes"]) == 2
    assert sorted(root.rglob("*")) == before


def test_settings_alone_where_the_plugin_comes_from_elsewhere(root: Path) -> None:
    profile = qgis.find_profile("default", root)
    profile.settings.unlink()
    report = qgis.install(profile, "/opt/python", None)
    assert "plugin manager" in report["warnings"][0] and report["version"] is None
    assert profile.settings.read_text() == "[codemae_geo]\nruntime_python=/opt/python\n"


@pytest.mark.parametrize(
    ("platform", "env", "folders"),
    [
        ("linux", {}, ["h/.local/share/QGIS/QGIS3/profiles", "h/.local/share/QGIS/QGIS4/profiles"]),
        ("linux", {"XDG_DATA_HOME": "x"}, ["x/QGIS/QGIS3/profiles"]),
        ("darwin", {}, ["h/Library/Application Support/QGIS/QGIS3/profiles"]),
        ("win32", {"APPDATA": "a"}, ["a/QGIS/QGIS3/profiles", "a/QGIS/QGIS4/profiles"]),
        ("win32", {"APPDATA": "a", "QGIS_CUSTOM_CONFIG_PATH": "c"}, ["c/profiles"]),
    ],
)
def test_where_profiles_are(platform: str, env: dict[str, str], folders: list[str]) -> None:
    roots = [r.as_posix() for r in qgis.profile_roots(platform, env, Path("h"))]
    assert roots[: len(folders)] == folders


def test_the_settings_file_has_the_versions_name(tmp_path: Path) -> None:
    folder = tmp_path / "QGIS4/profiles"
    (folder / "default/python").mkdir(parents=True)
    assert qgis.find_profile(root=folder).settings.name == "QGIS4.ini"


def test_profiles_that_are_not_there(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="default, work ü"):
        qgis.find_profile("wrok", root)
    with pytest.raises(InputError, match="--profiles-path"):
        qgis.find_profile(root=tmp_path / "nothing")


def escaping(folder: Path) -> Path:
    return make_zip(folder / "p.zip", make_plugin(folder), **{"codemae_qgis/../../evil.py": ""})


def absolute(folder: Path) -> Path:
    return make_zip(folder / "p.zip", make_plugin(folder), **{"/tmp/evil.py": ""})


def drive(folder: Path) -> Path:
    return make_zip(folder / "p.zip", make_plugin(folder), **{"codemae_qgis/C:evil.py": ""})


def backslash(folder: Path) -> Path:
    return make_zip(folder / "p.zip", make_plugin(folder), **{"codemae_qgis\\..\\evil.py": ""})


def second_folder(folder: Path) -> Path:
    return make_zip(folder / "p.zip", make_plugin(folder), **{"os/__init__.py": ""})


def other_plugin(folder: Path) -> Path:
    return make_zip(folder / "p.zip", make_plugin(folder, name="deepness"))


def link(folder: Path) -> Path:
    path = make_zip(folder / "p.zip", make_plugin(folder))
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("codemae_qgis/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc")
    return path


def without_metadata(folder: Path) -> Path:
    plugin = make_plugin(folder)
    (plugin / "metadata.txt").unlink()
    return plugin


def bomb(folder: Path) -> Path:
    path = make_zip(folder / "p.zip", make_plugin(folder))
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("codemae_qgis/big", b"\0" * (qgis.MAX_BYTES + 1))
    return path


def no_zip(folder: Path) -> Path:
    (folder / "p.zip").write_text("no zip")
    return folder / "p.zip"


def missing(folder: Path) -> Path:
    return folder / "p.zip"


@pytest.mark.parametrize(
    "case",
    [escaping, absolute, drive, backslash, second_folder, other_plugin, link, without_metadata, bomb, no_zip, missing],
)
def test_plugins_that_are_refused(root: Path, tmp_path: Path, case: Callable[[Path], Path]) -> None:
    profile = qgis.find_profile("default", root)
    qgis.install(profile, "/opt/python", make_plugin(tmp_path / "1"))
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    (tmp_path / "2").mkdir()
    with pytest.raises(InputError):
        qgis.install(profile, "/opt/other", case(tmp_path / "2"))
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before
    assert not list(tmp_path.rglob("evil*"))


def test_a_failed_swap_keeps_the_old_plugin(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = qgis.find_profile("default", root)
    qgis.install(profile, "/opt/python", make_plugin(tmp_path / "1"))
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == qgis.PLUGIN and "1.0" not in (self / "metadata.txt").read_text():
            raise PermissionError(13, "in use")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match="in use"):
        qgis.install(profile, "/opt/python", make_plugin(tmp_path / "2", "2.0"))
    assert qgis.read_version(profile.plugin) == "1.0"


def test_a_developers_link_stays(root: Path, tmp_path: Path) -> None:
    profile = qgis.find_profile("default", root)
    source = make_plugin(tmp_path / "1")
    profile.plugin.parent.mkdir(parents=True)
    profile.plugin.symlink_to(source)
    with pytest.raises(InputError, match="is a link"):
        qgis.install(profile, "/opt/python", make_plugin(tmp_path / "2", "2.0"))
    qgis.uninstall(profile)
    assert not profile.plugin.is_symlink() and source.is_dir()


@given(
    st.lists(
        st.sampled_from(["[a]", "[PythonPlugins]", "[codemae_geo]", "k=v", "codemae_qgis_2=1", "", "; x"]), max_size=8
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_what_was_set_and_removed_leaves_no_trace(lines: list[str], end: str, closed: bool) -> None:
    data = (end.join(lines) + (end if closed and lines else "")).encode()
    changed = ini.set_value(data, "codemae_geo", "runtime_python", "x")
    assert ini.set_value(changed, "codemae_geo", "runtime_python", "x") == changed
    assert changed.splitlines().count(b"runtime_python=x") == 1
    removed = ini.remove_value(changed, "codemae_geo", "runtime_python")

    def others(text: bytes) -> list[bytes]:
        return [line for line in text.splitlines() if line not in (b"", b"[codemae_geo]")]

    assert others(removed) == others(data)
    if "[codemae_geo]" not in lines and (not data or data.endswith(b"\n")):
        assert removed == data


def test_the_command(root: Path, tmp_path: Path, codemae: Callable[..., Result]) -> None:
    plugin = make_plugin(tmp_path / "1")
    words = ["qgis-setup", "--profiles-path", root, "--profile", "default"]
    done = codemae(*words, "--plugin", plugin)
    assert done.code == 0 and "Restart QGIS" in done.out, done.err
    refused = codemae(*words, "--plugin", tmp_path / "none.zip", "--json")
    assert refused.code == 1 and "none.zip" in refused.json["error"]["message"]


SYSTEM_PYTHON = "/usr/bin/python3"
READ = """
import json, os, sys
from qgis.core import QgsApplication, QgsSettings
from qgis.PyQt.QtCore import QCoreApplication, QSettings
# as the program itself starts with a profile
QCoreApplication.setOrganizationName("QGIS")
QCoreApplication.setApplicationName("QGIS3")
QSettings.setDefaultFormat(QSettings.Format.IniFormat)
QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, sys.argv[1])
app = QgsApplication([], False, sys.argv[1])
s = QgsSettings()
print(json.dumps([s.value("codemae_geo/runtime_python"), s.value("PythonPlugins/codemae_qgis", False, type=bool),
                  s.value("PythonPlugins/other", False, type=bool), s.value("qgis/name")]))
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.parametrize(
    "python", ["/opt/codemae/bin/python", "C:\\Users\\Müller\\my env\\aé1\\python.exe", "/地図/;x=1/python"]
)
def test_qgis_reads_the_settings_back(root: Path, tmp_path: Path, python: str) -> None:
    probe = [SYSTEM_PYTHON, "-c", "import qgis.core"]
    if not Path(SYSTEM_PYTHON).exists() or subprocess.run(probe, capture_output=True).returncode:
        if os.environ.get("CODEMAE_REQUIRE_QGIS") == "1":
            pytest.fail("QGIS is required and cannot be used")
        pytest.skip("the system's Python has no PyQGIS")
    profile = qgis.find_profile("default", root)
    qgis.install(profile, python, make_plugin(tmp_path / "1"))
    keep = {k: v for k, v in os.environ.items() if k in {"PATH", "HOME", "LANG", "LC_ALL"}}
    done = subprocess.run(
        [SYSTEM_PYTHON, "-c", READ, str(profile.folder)], capture_output=True, text=True, timeout=60,
        env=keep | {"QT_QPA_PLATFORM": "offscreen"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [python, True, True, "a;b"]
