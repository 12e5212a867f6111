"""MATLAB files up to version 7."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from codemae_geo.errors import InputError


def read_mat(path: Path, **options: Any) -> dict[str, Any]:
    """Variables by name.

    Args:
        path: the file.
        options: as ``scipy.io.loadmat`` takes them.

    Raises:
        InputError: the file is missing or cannot be read; names it.
    """
    from scipy.io import loadmat  # type: ignore[import-untyped]
    from scipy.io.matlab import MatReadError  # type: ignore[import-untyped]

    try:
        variables = loadmat(path, **options)
    except (OSError, ValueError, TypeError, NotImplementedError, MatReadError) as error:
        raise InputError(
            f"The MATLAB file {path} cannot be read.",
            found="no such file" if not path.exists() else str(error),
            hint="fetch it again",
        ) from error
    return {name: value for name, value in variables.items() if not name.startswith("__")}
