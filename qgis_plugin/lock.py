#!/usr/bin/env python3
"""Write the locks in codemae_qgis/engine: exact versions of everything that set-up installs, on all systems.

``lock.txt`` has all, ``lock_plain.txt`` what maps without PyTorch need.

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
#: the same without PyTorch, in the same versions
PLAIN = COMPILE.replace(" --extra detection", "") + f" -c {LOCK.relative_to(ROOT).as_posix()}"
CUDA = ("cuda-", "nvidia-", "triton")


def main() -> int:
    """Compile and write."""
    for command, path in ((COMPILE, LOCK), (PLAIN, LOCK.with_name("lock_plain.txt"))):
        done = subprocess.run(
            [sys.executable, "-m", *command.split()], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
        )
        lines = [x for x in done.stdout.splitlines() if "==" in x and not x.startswith(CUDA)]
        path.write_text("# made by lock.py\n" + "\n".join(lines) + "\n", encoding="utf-8")
        print(f"{len(lines)} packages in {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
