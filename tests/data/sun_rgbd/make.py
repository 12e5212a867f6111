"""SUN-RGBD as published: one folder per frame, splits and labels in the toolbox's MATLAB files."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from PIL import Image
from scipy.io import savemat
from support.fakes import write

HEIGHT, WIDTH = 24, 32
FRAMES = ("kv1/NYUdata/NYU0001", "kv2/kinect2data/000002_2014-05-26", "xtion/sun3ddata/a/0001", "realsense/lg/0002")
PREFIX = "/n/fs/sun3d/data/SUNRGBD/"


def stored(depth: np.ndarray) -> np.ndarray:
    """Millimetres as the sensor's 16 bits: the low 13 in front, the high 3 behind."""
    mm = np.rint(depth * 1000).astype(np.uint16)
    return ((mm << 3) | (mm >> 13)).astype(np.uint16)


def make(root: Path) -> None:
    """Two frames to train with, two to test with; a wall 2 m ahead with a gap in its depth."""
    meta = []
    for n, frame in enumerate(FRAMES):
        folder = root / "SUNRGBD" / frame
        image = np.random.default_rng(n).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
        (folder / "image").mkdir(parents=True)
        Image.fromarray(image).save(folder / "image" / f"{n:04d}.jpg")
        depth = np.full((HEIGHT, WIDTH), 2.0 + n)
        depth[:2, :2] = 0
        for kind in ("depth", "depth_bfx"):
            (folder / kind).mkdir()
            Image.fromarray(stored(depth)).save(folder / kind / f"{n:04d}.png")
        write(folder / "intrinsics.txt", "30.0 0 15.5 0 30.0 11.5 0 0 1\n")
        write(folder / "extrinsics" / "20140922010143.txt", "1 0 0 0\n0 1 0 0\n0 0 1 0\n")
        write(folder / "scene.txt", "office")
        meta.append((PREFIX + f"{frame}/image/{n:04d}.jpg", f"{n:04d}.jpg", f"{n:04d}.png"))
    toolbox = root / "SUNRGBDtoolbox"
    (toolbox / "Metadata").mkdir(parents=True)
    (toolbox / "traintestSUNRGBD").mkdir()
    fields = np.array(meta, dtype=[(name, object) for name in ("rgbpath", "rgbname", "depthname")])
    savemat(toolbox / "Metadata" / "SUNRGBDMeta.mat", {"SUNRGBDMeta": fields})
    paths = np.array([PREFIX + frame for frame in FRAMES], dtype=object)
    savemat(toolbox / "traintestSUNRGBD" / "allsplit.mat", {"alltrain": paths[:2], "alltest": paths[2:]})
    with h5py.File(toolbox / "Metadata" / "SUNRGBD2Dseg.mat", "w") as file:
        labels = file.create_dataset("SUNRGBD2Dseg/seglabel", (len(FRAMES), 1), dtype=h5py.ref_dtype)
        for n in range(len(FRAMES)):
            mask = np.random.default_rng(n).integers(0, 38, (WIDTH, HEIGHT)).astype(np.uint8)
            labels[n, 0] = file.create_dataset(f"#refs#/{n}", data=mask).ref
