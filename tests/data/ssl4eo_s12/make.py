"""SSL4EO-S12: ``{s2c,s1}/<place>/<scene>/<band>.tif``, four scenes of each place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from codemae_datasets.public.ssl4eo import SSL4EOS12
from support.fakes import raster


def make(root: Path) -> None:
    """Two places, one pixel value per scene; bands at 10 pixels and fewer."""
    dates = ("20200115", "20200415", "20200715", "20201015")
    for place in ("0000000", "0000001"):
        for season, date in enumerate(dates):
            optical = root / "s2c" / place / f"{date}T103421_20200529T103425_T32UQD"
            for number, band in enumerate(SSL4EOS12.all_bands):
                side = 10 if band in ("B2", "B3", "B4", "B8") else 5
                raster(optical / f"{band}.tif", np.full((side, side), 1000 * season + number, np.uint16))
            # platforms do not sort as dates do
            sar = root / "s1" / place / f"S1{'BA'[season % 2]}_IW_GRDH_1SDV_{date}T165043_{date}T165108_0"
            for number, band in enumerate(("VV", "VH")):
                raster(sar / f"{band}.tif", np.full((10, 10), -10.0 * season - number - 1, np.float32))
