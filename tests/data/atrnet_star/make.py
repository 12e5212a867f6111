"""ATRNet-STAR: ``<setting>/<split>/<type>/<band>_<polarisation>_<depression>_<azimuth>_<id>.tif`` and ``.xml``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import savemat
from support.fakes import SIZE, pixels, raster, write

TYPES = (("Buick_GL8", "Truck", "Light_PV"), ("Yutong_ZK6120HY1", "Bus", "Large_Bus"))


def make(root: Path) -> None:
    """Two of the forty types, two chips each in ground range, one quad-polarised complex chip each in slant range."""
    number = 0
    for split in ("train", "test"):
        for kind, category, subclass in TYPES:
            for i in range(3):
                number += 1
                slant = i == 2
                stem = f"X_quad_15_0_{number}" if slant else f"KU_HH_15_{30 * i}_{number}"
                setting = "Slant_Range/complex_float_quad" if slant else "Ground_Range/Amplitude_8bit"
                folder = root / setting / "SOC_40classes" / split / kind
                note = (
                    f"<annotation><filename>{stem}</filename><size><width>{SIZE}</width><height>{SIZE}</height></size>"
                    f"<object><class>{category}</class><subclass>{subclass}</subclass><type>{kind}</type>"
                    "<bndbox><xmin>2</xmin><xmax>11</xmax><ymin>3</ymin><ymax>12</ymax></bndbox></object></annotation>"
                )
                write(folder / f"{stem}.xml", note)
                if slant:
                    rng = np.random.default_rng(number)
                    chips = {
                        f"data_{p}": (rng.normal(size=(SIZE, SIZE)) + 1j * rng.normal(size=(SIZE, SIZE))).astype("c8")
                        for p in ("hh", "hv", "vh", "vv")
                    }
                    savemat(folder / f"{stem}.mat", chips)
                else:
                    raster(folder / f"{stem}.tif", pixels(number, bands=1))
