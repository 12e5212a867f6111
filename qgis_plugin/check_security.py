#!/usr/bin/env python3
"""Bandit and detect-secrets over the plugin, no laxer than plugins.qgis.org, where any finding blocks an upload.

    python qgis_plugin/check_security.py [FOLDER]     needs bandit and detect-secrets; exits with 1 on a finding

All of Bandit's tests at all severities run, but for B404 (an import of subprocess), which the site leaves out as well.
detect-secrets always exits with 0, so its report is read.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PLUGIN = Path(__file__).with_name("codemae_qgis")


def findings(folder: Path) -> list[str]:
    """What the site's scan would report, one line each."""
    return [*_bandit(folder), *_secrets(folder)]


def _bandit(folder: Path) -> list[str]:
    done = _run("bandit", "-q", "-r", str(folder), "-s", "B404", "-f", "json")
    report = json.loads(done.stdout)
    found = [
        f"{r['filename']}:{r['line_number']}: {r['test_id']} {r['issue_text'].splitlines()[0]}"
        for r in report["results"]
    ]
    return found + [f"{e['filename']}: {e['reason']}" for e in report["errors"]]


def _secrets(folder: Path) -> list[str]:
    # it passes over files that lie outside the current folder without a word
    done = _run("detect_secrets", "scan", "--all-files", ".", folder=folder)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    results = json.loads(done.stdout)["results"]
    return [
        f"{name}:{secret['line_number']}: {secret['type']}"
        for name, secrets in results.items()
        for secret in secrets
        if "__pycache__" not in name
    ]


def _run(module: str, *args: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *args], capture_output=True, text=True, check=False, cwd=folder
    )


def main() -> int:
    """Scan and report."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else PLUGIN
    found = findings(folder)
    for line in found:
        print(line)
    print(f"{folder.name}: {len(found)} findings")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
