"""The zip, the scans, the catalogues, the lock: what the plugin repository and Qt will look at."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "qgis_plugin" / "codemae_qgis"
SOURCES = sorted(PLUGIN.rglob("*.py"))


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "qgis_plugin" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return load("build_zip").build(tmp_path_factory.mktemp("dist"))


def test_zip_keeps_all_rules_and_is_reproducible(built: Path, tmp_path: Path) -> None:
    build_zip = load("build_zip")
    assert build_zip.broken_rules(built) == []
    assert build_zip.build(tmp_path).read_bytes() == built.read_bytes()
    with zipfile.ZipFile(built) as archive:
        names = set(archive.namelist())
    assert {f"codemae_qgis/{p.relative_to(PLUGIN).as_posix()}" for p in SOURCES} <= names
    assert {f"codemae_qgis/i18n/codemae_qgis_{language}.qm" for language in ("de", "en")} <= names
    assert built.stat().st_size < 1_000_000


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("codemae_qgis/bad.pyc", b"x", "no binaries"),
        ("codemae_qgis/run.sh", b"x", "no scripts"),
        ("codemae_qgis/__pycache__/a.py", b"x", "not allowed"),
        ("codemae_qgis/.secret", b"x", "hidden"),
        ("codemae_qgis/picture.dat", b"\x00\x01", "not a text file"),
        ("other/a.py", b"x", "several top folders"),
    ],
)
def test_zip_with_a_forbidden_file(built: Path, tmp_path: Path, name: str, content: bytes, words: str) -> None:
    bad = shutil.copy(built, tmp_path / "bad.zip")
    with zipfile.ZipFile(bad, "a") as archive:
        archive.writestr(name, content)
    assert any(words in rule for rule in load("build_zip").broken_rules(Path(bad)))


@pytest.mark.parametrize(
    ("pattern", "instead", "words"),
    [
        (r"^email=.*$", "", "has no email"),
        (r"^author=.*$", "author=a/b", "slash"),
        (r"^qgisMaximumVersion=.*$", "", "hidden in QGIS 4"),
        (r"^homepage=.*$", "homepage=soon", "homepage is no web address"),
        (r"^version=.*$", "version=first", "version is no version"),
        (r"^icon=.*$", "icon=none.svg", "icon is missing"),
    ],
)
def test_zip_with_bad_metadata(built: Path, tmp_path: Path, pattern: str, instead: str, words: str) -> None:
    bad = tmp_path / "bad.zip"
    with zipfile.ZipFile(built) as old, zipfile.ZipFile(bad, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("metadata.txt"):
                data = re.sub(pattern, instead, data.decode(), flags=re.M).encode()
            new.writestr(name, data)
    assert any(words in rule for rule in load("build_zip").broken_rules(bad))


def test_no_finding_of_the_sites_scans(tmp_path: Path) -> None:
    check = load("check_security")
    assert check.findings(PLUGIN) == []
    bad = tmp_path / "bad"
    bad.mkdir()
    token = "".join(["AKIA", "Z7VQKXW2M4N6P8RT"])
    (bad / "a.py").write_text(f"import subprocess\nsubprocess.run('ls', shell=True)\nassert True\nkey = '{token}'\n")
    found = "\n".join(check.findings(bad))
    assert all(word in found for word in ("B602", "B101", "AWS Access Key"))


def test_qt_names_exist_in_qt_6(tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    lines = [
        "from qgis.PyQt.QtCore import Qt, QRegExp",
        "from qgis.PyQt.QtWidgets import QDialog, QSizePolicy",
        "import PyQt5",
        "Qt.AlignLeft; QSizePolicy.Expanding; QDialog().exec_()",
        "Qt.AlignmentFlag.AlignLeft; QSizePolicy.Policy.Expanding; QDialog().exec()",
        "try:",
        "    from qgis.PyQt.QtGui import QAction",
        "except ImportError:",
        "    from qgis.PyQt.QtWidgets import QAction",
    ]
    (bad / "a.py").write_text("\n".join(lines))
    uv = os.environ.get("UV") or shutil.which("uv")  # `uv run` names itself
    if uv is None:
        pytest.skip("uv is not installed")
    script = ROOT / "qgis_plugin" / "check_qt6.py"
    command = [uv, "run", "-q", "--no-project", "--isolated", "--with", "PyQt6", "python", str(script)]
    good = subprocess.run(command, capture_output=True, text=True)
    if good.returncode == 2 and not good.stdout:
        pytest.skip(f"PyQt6 cannot be had: {good.stderr}")
    assert good.returncode == 0, good.stdout + good.stderr
    found = subprocess.run([*command, str(bad)], capture_output=True, text=True)
    assert found.returncode == 1
    assert found.stdout.splitlines() == [
        "a.py:1: qgis.PyQt.QtCore.QRegExp",
        "a.py:3: PyQt5: import through qgis.PyQt",
        "a.py:4: Qt.AlignLeft",
        "a.py:4: QSizePolicy.Expanding",
        "a.py:4: .exec_ is gone",
        "bad: 5 names that Qt 6 does not have",
    ]


def test_only_qgis_and_the_standard_library_are_imported() -> None:
    allowed = {*sys.stdlib_module_names, "qgis", "processing"}  # processing comes with QGIS
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert {a.name.split(".")[0] for a in node.names} <= allowed, path
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert str(node.module).split(".")[0] in allowed, path


def test_engine_and_deliver_know_no_qgis() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from codemae_qgis import deliver\n"
        "from codemae_qgis.engine import errors, process, protocol, runner, runtime, setup\n"
        "heavy = {'qgis', 'PyQt5', 'numpy', 'torch', 'rasterio', 'geopandas', 'codemae_geo'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", script, str(PLUGIN.parent)], check=True)


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(PLUGIN).as_posix())
def test_python_3_8_can_read_it(path: Path) -> None:
    ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))


def test_sources_are_not_executable() -> None:
    assert [
        p.name for p in PLUGIN.rglob("*") if p.is_file() and os.access(p, os.X_OK) and p.stat().st_mode & 0o111
    ] == []


# catalogues


def test_every_sentence_of_an_error_can_be_translated() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "EngineError":
                for text in [*node.args[:1], *(k.value for k in node.keywords if k.arg == "hint")]:
                    parts = text.values if isinstance(text, ast.JoinedStr) else [text]
                    words = [p.value for p in parts if isinstance(p, ast.Constant) and isinstance(p.value, str)]
                    assert not re.search("[a-z]", " ".join(words)), f"{path.name}:{node.lineno} without tr()"


def test_catalogues_are_complete(capsys: pytest.CaptureFixture[str]) -> None:
    assert load("i18n").main(check=True) == 0, capsys.readouterr().out


def test_translations_keep_placeholders_and_markup() -> None:
    i18n = load("i18n")
    for path in (PLUGIN / "i18n").glob("*.ts"):
        for (_, source), target in i18n.read_ts(path).items():
            marks, kept = (sorted(re.findall(r"\{\w*\}|%\d|<[^>]+>", text)) for text in (source, target))
            assert marks == kept or not target, source


def test_ts_survives_a_round_trip(tmp_path: Path) -> None:
    i18n = load("i18n")
    known = {("A", 'x < y & "z"\nnew'): "Grüße", ("B", "empty"): ""}
    i18n.write_ts(tmp_path / "x_de.ts", "de", known)
    assert i18n.read_ts(tmp_path / "x_de.ts") == known


def test_texts_must_be_literals(tmp_path: Path) -> None:
    i18n = load("i18n")
    (tmp_path / "a.py").write_text("class C:\n    def f(self):\n        self.tr('one'); tr('two')\n")
    assert i18n.texts(tmp_path) == [("C", "one"), ("codemae", "two")]
    (tmp_path / "b.py").write_text("tr(name)\n")
    with pytest.raises(ValueError, match="needs a literal"):
        i18n.texts(tmp_path)


# lock


def test_lock_has_every_dependency_of_the_toolkit_at_a_version_it_allows() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["detection"]]
    lines = (PLUGIN / "engine" / "lock.txt").read_text().splitlines()[1:]
    pins: dict[str, list[str]] = {}
    for line in lines:
        requirement = Requirement(line)
        pins.setdefault(requirement.name.replace("_", "-").lower(), []).append(str(requirement.specifier)[2:])
    for text in wanted:
        requirement = Requirement(text)
        if requirement.name == "codemae-geo":  # another of its extras
            wanted += project["optional-dependencies"][next(iter(requirement.extras))]
            continue
        versions = pins[requirement.name.replace("_", "-").lower()]
        assert all(SpecifierSet(str(requirement.specifier)).contains(v) for v in versions), text
    assert not [n for n in pins if n.startswith(("nvidia-", "cuda-"))]


def test_the_plugin_installs_the_toolkit_of_its_own_version() -> None:
    from codemae_cli.protocol import PROTOCOL
    from codemae_qgis.engine import protocol, setup

    import codemae_geo

    assert f"codemae-geo=={codemae_geo.__version__}" == setup.PACKAGE
    assert protocol.PROTOCOL == PROTOCOL
    fields = load("build_zip").metadata(PLUGIN / "metadata.txt")
    assert fields["version"] == codemae_geo.__version__
