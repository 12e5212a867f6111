"""Public datasets by name. The catalogue is text: a dataset's module is loaded when it is asked for."""

from __future__ import annotations

import difflib
import json
from importlib import import_module
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from codemae_geo.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from codemae_datasets.public._base import Card, PublicDataset

#: name to "module:Class", the module below this package
CATALOGUE: dict[str, str] = {
    # optical with SAR
    "msaw": "msaw:MSAW",
    "qxs_saropt": "qxs_saropt:QXSSAROPT",
    "ddhr_xa": "ddhr:DDHRXA",
    "ddhr_dy": "ddhr:DDHRDY",
    "ddhr_sk": "ddhr:DDHRSK",
    "whu_opt_sar": "whu_opt_sar:WHUOPTSAR",
    "dfc23_track1": "dfc23:DFC23Track1",
    "dfc23_track2": "dfc23:DFC23Track2",
    "ogsod2": "ogsod2:OGSOD2",
    "gfge_so": "gfge_so:GFGESO",
    "openearthmap_sar": "openearthmap_sar:OpenEarthMapSAR",
    "earthmiss": "earthmiss:EarthMiss",
    "osdataset2": "osdataset2:OSdataset2",
    "pie_rgb_sar": "pie_rgb_sar:PIERGBSAR",
    "yeseg_opt_sar": "yeseg_opt_sar:YESegOPTSAR",
    "dfc20": "dfc20:DFC20",
    "sen12ms": "sen12ms:SEN12MS",
    "bigearthnet_mm": "bigearthnet:BigEarthNetMM",
    "bigearthnet_v2": "bigearthnet:BigEarthNet2",
    "eurosat_mm": "eurosat_mm:EuroSATMM",
    "ssl4eo_s12": "ssl4eo:SSL4EOS12",
    "ssl4eo_s12_l2a": "ssl4eo:SSL4EOS12L2A",
    "geonrw": "geonrw:GeoNRW",
    "ospretrain1m": "ospretrain1m:OSPretrain1M",
    # one sensor
    "aid": "aid:AID",
    "whu_rs19": "whu_rs19:WHURS19",
    "rsd46_whu": "rsd46_whu:RSD46WHU",
    "resisc45": "resisc45:RESISC45",
    "eurosat": "eurosat:EuroSAT",
    "ucmerced": "ucmerced:UCMerced",
    "fmow_rgb": "fmow_rgb:FMoWRGB",
    "loveda": "loveda:LoveDA",
    "dior": "dior:DIOR",
    "fair1m": "fair1m:FAIR1M",
    "vaihingen": "vaihingen:Vaihingen",
    "potsdam": "potsdam:Potsdam",
    "fair_csar": "fair_csar:FAIRCSAR",
    "sardet_100k": "sardet_100k:SARDet100K",
    "sardet_180k": "sardet_180k:SARDet180K",
    "atrnet_star": "atrnet_star:ATRNetSTAR",
    "mstar": "mstar:MSTAR",
    "fusar_ship": "fusar_ship:FUSARShip",
    "sar_acd": "sar_acd:SARACD",
    "sun_rgbd": "sun_rgbd:SUNRGBD",
    "nyu_depth_v2": "nyu_depth_v2:NYUDepthV2",
    "bright": "bright:BRIGHT",
    "bright_dfc25": "bright_dfc25:BRIGHTDFC25",
    "xbd": "xbd:XBD",
}


def dataset_class(name: str) -> type[PublicDataset]:
    """The class of a dataset.

    Raises:
        InputError: no such name; says which ones are alike.
    """
    if name not in CATALOGUE:
        close = difflib.get_close_matches(name.lower(), CATALOGUE, n=3, cutoff=0.5)
        raise InputError(
            f"there is no dataset {name!r}",
            expected=", ".join(close or CATALOGUE),
            hint="`codemae data list` shows all of them",
        )
    module, _, attribute = CATALOGUE[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)


def open_dataset(name: str, root: str | Path = "data", **options: Any) -> PublicDataset:
    """A dataset by name; ``options`` as its class takes them (split, bands, transforms, modality ...)."""
    return dataset_class(name)(root, **options)


def collate(samples: Sequence[dict[str, Tensor]]) -> dict[str, Any]:
    """A batch, for a DataLoader's ``collate_fn``: tensors stacked, but boxes and what belongs to them as lists."""
    from codemae_datasets.public import _base

    return _base.collate(samples)


def card(name: str) -> Card:
    """What a dataset is and where it comes from."""
    return dataset_class(name).card


def listing() -> list[dict[str, str]]:
    """Name, title, modality and task of every dataset, from a file: loading torch for all the cards takes seconds."""
    return json.loads((files(__name__) / "listing.json").read_text(encoding="utf-8"))


def table() -> str:
    """The catalogue as a Markdown table."""
    rows = ["| name | dataset | sensors | GSD (m) | size | labels | splits | licence |", "|---" * 8 + "|"]
    for name in CATALOGUE:
        it = card(name)
        gsd = " - ".join(f"{metres:g}" for metres in sorted(set(it.gsd_m))) if it.gsd_m else "not stated"
        cells = [f"`{name}`", f"[{it.title}]({it.home})", it.modality, gsd, it.size, it.task]
        rows.append("| " + " | ".join([*cells, ", ".join(it.splits), it.licence]) + " |")
    return "\n".join(rows) + "\n"
