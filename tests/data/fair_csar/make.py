"""FAIR-CSAR V1.0: ``{SL,FSI}/{trainval,test}/{SLCMats,PNGImages,Annotations}``, boxes in DOTA's text form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import savemat
from support.fakes import SIZE, picture, write

BOX = "1.0 1.0 9.0 2.0 8.0 7.0 0.5 6.0"


def make(root: Path) -> None:
    """Two patches in each split of both modes, two boxes each."""
    for n, mode in enumerate(("SL", "FSI")):
        for m, split in enumerate(("trainval", "test")):
            for i in range(2):
                seed = 100 * n + 10 * m + i
                stem = f"GF3_KAS_{mode}_028685_E139.7_N35.5_20220120_L1A_HH_L10000000001_00000_{seed:05d}"
                folder = root / mode / split
                picture(folder / "PNGImages" / f"{stem}.png", seed=seed, bands=1)
                rng = np.random.default_rng(seed)
                slc = rng.normal(size=(SIZE, SIZE)) + 1j * rng.normal(size=(SIZE, SIZE))
                (folder / "SLCMats").mkdir(parents=True, exist_ok=True)
                savemat(folder / "SLCMats" / f"{stem}.mat", {"slc": slc.astype(np.complex64)})
                lines = [f"{BOX} Container_Ship 0", f"{BOX} {'Warship' if mode == 'SL' else 'Other_Ship'} 0"]
                write(folder / "Annotations" / f"{stem}.txt", "imagesource:GF3\ngsd:1\n" + "\n".join(lines) + "\n")
