"""MATLAB files, of the old form (up to version 7) and of the new one (HDF5)."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from codemae_geo.errors import InputError


def read_mat(path: Path, **options: Any) -> dict[str, Any]:
    """Variables by name of a file of the old form.

    Args:
        path: the file.
        options: as ``scipy.io.loadmat`` takes them.

    Raises:
        InputError: the file is missing or cannot be read, or scipy is not installed; names it.
    """
    scipy_io, matlab = needed("scipy.io"), needed("scipy.io.matlab")
    try:
        variables = scipy_io.loadmat(path, **options)
    except (OSError, ValueError, TypeError, NotImplementedError, matlab.MatReadError) as error:
        raise InputError(
            f"the MATLAB file {path} cannot be read",
            found="no such file" if not path.exists() else str(error),
            hint="fetch it again",
        ) from error
    return {name: value for name, value in variables.items() if not name.startswith("__")}


def open_hdf5(path: Path) -> Any:
    """A file of the new form, to be used in ``with``; it shows MATLAB's axes in reverse.

    Open it anew for every sample: an open file does not survive a fork.

    Raises:
        OSError: it cannot be opened.
        InputError: h5py is not installed.
    """
    return needed("h5py").File(path, "r")


def needed(module: str) -> Any:
    """A module of the ``data`` extra.

    Raises:
        InputError: it is not installed; says how to get it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise InputError(
            f"reading this dataset needs {module.partition('.')[0]}, which cannot be imported",
            found=str(error),
            hint="install the data extra: pip install 'codemae-geo[data]'",
        ) from error
