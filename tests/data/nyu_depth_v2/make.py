"""NYU-Depth v2: the labelled set's MATLAB 7.3 file, the split, the mapping to forty classes."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from scipy.io import savemat

HEIGHT, WIDTH, COUNT = 24, 32, 4


def make(root: Path) -> None:
    """Four frames, two to train with; a raw label in every column, 0 for unlabelled."""
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    depth = 2 + np.arange(COUNT, dtype=np.float32)[:, None, None] + np.zeros((COUNT, WIDTH, HEIGHT), np.float32)
    raw = depth.copy()
    raw[:, :2, :2] = 0
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "w") as file:
        # MATLAB stores columns first: HDF5 shows the axes turned round
        file["images"] = rng.integers(0, 256, (COUNT, 3, WIDTH, HEIGHT)).astype(np.uint8)
        file["depths"] = depth
        file["rawDepths"] = raw
        file["labels"] = np.broadcast_to(np.arange(WIDTH, dtype=np.uint16)[None, :, None] * 28, depth.shape)
    savemat(root / "splits.mat", {"trainNdxs": np.array([[1], [3]]), "testNdxs": np.array([[2], [4]])})
    savemat(root / "classMapping40.mat", {"mapClass": (np.arange(894)[None] % 40 + 1).astype(np.uint8)})
