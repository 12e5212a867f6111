"""How the tests start QGIS."""

from __future__ import annotations

import os


def desktop_environment() -> dict[str, str]:
    """Of the environment of the tests only what a desktop has too, the system's own programs first.

    The Python inside QGIS looks for its library beside the first ``python3`` on the path; another one there (pyenv,
    conda, uv) and it finds no ``qgis``.
    """
    kept = {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "OMP_NUM_THREADS"}
    env = {key: value for key, value in os.environ.items() if key in kept}
    return env | {"PATH": os.pathsep.join(["/usr/bin", "/bin", env.get("PATH", "")])}
