"""ATRNet-STAR: ``<setting>/<split>/<type>/<band>_<polarisation>_<depression>_<azimuth>_<id>.tif`` and ``.xml``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import savemat
from support.fakes import SIZE, pixels, raster, write

TYPES = (("Buick_GL8", "Truck", "Light_PV"), ("Yutong_ZK6120HY1", "Bus", "Large_Bus"))


def make(root: Path, form: str = "amplitude") -> None:
    """Two of the forty types, two chips each: 8-bit amplitude, or ``form="complex"``, four polarisations."""
    number = 0
    for split in ("train", "test"):
        for kind, category, subclass in TYPES:
            for i in range(2):
                number += 1
                stem = f"KU_HH_15_{30 * i}_{number}" if form == "amplitude" else f"KU_quad_15_{30 * i}_{number}"
                folder = root / "SOC_40classes" / split / kind
                note = (
                    f"<annotation><filename>{stem}</filename><size><width>{SIZE}</width><height>{SIZE}</height></size>"
                    f"<object><class>{category}</class><subclass>{subclass}</subclass><type>{kind}</type>"
                    "<bndbox><xmin>2</xmin><xmax>11</xmax><ymin>3</ymin><ymax>12</ymax></bndbox></object></annotation>"
                )
                write(folder / f"{stem}.xml", note)
                if form == "amplitude":
                    raster(folder / f"{stem}.tif", pixels(number, bands=1))
                    continue
                rng = np.random.default_rng(number)
                chips = {f"data_{p}": rng.normal(size=(SIZE, SIZE, 2)).view(complex)[..., 0] for p in POLARISATIONS}
                savemat(folder / f"{stem}.mat", chips)


POLARISATIONS = ("hh", "hv", "vh", "vv")
