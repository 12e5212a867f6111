#!/usr/bin/env python3
"""Write codemae_qgis/engine/lock.txt: exact versions of everything that set-up installs, for every system and Python.

    python qgis_plugin/lock.py        (needs uv; run it before a release)

The CUDA libraries are left out: the torch that needs them names its own exact versions.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LOCK = Path(__file__).with_name("codemae_qgis") / "engine" / "lock.txt"
COMPILE = (
    "uv pip compile pyproject.toml --extra detection --universal --python-version 3.11 --no-header --no-annotate -q"
)
CUDA = ("cuda-", "nvidia-", "triton")


def main() -> int:
    """Compile and write."""
    done = subprocess.run(
        [sys.executable, "-m", *COMPILE.split()], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    lines = [x for x in done.stdout.splitlines() if "==" in x and not x.startswith(CUDA)]
    LOCK.write_text("# made by lock.py\n" + "\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(lines)} packages in {LOCK.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
