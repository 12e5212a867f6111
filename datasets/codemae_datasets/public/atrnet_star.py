"""ATRNet-STAR: forty vehicles seen by airborne SAR in two bands and four polarisations.

Liu et al., "ATRNet-STAR: A Large Dataset and Benchmark Towards Remote Sensing Object Recognition in the Wild",
arXiv:2501.13354, 2025. The training chips of SOC-40 are one of the unpaired SAR sources of OSPretrain-1M.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from codemae_datasets.public._base import Card, Item, Sample, Transform, one_of
from codemae_datasets.public._mat import read_mat
from codemae_datasets.public._scenes import SceneDataset
from codemae_datasets.public.boxes import read_voc
from codemae_geo.errors import InputError

Form = Literal["amplitude", "complex"]
Level = Literal["type", "subclass", "class"]

#: folders of the benchmark's settings
SETTINGS = (
    "SOC_40classes",
    "SOC_50classes",
    "EOC_azimuth",
    "EOC_band",
    "EOC_depression",
    "EOC_pol",
    "EOC_scene",
)
#: as the annotations spell them
CATEGORIES = ("Bus", "Car", "Speacial", "Truck")
SUBCLASSES = (
    "Ambulance",
    "Compact_SUV",
    "ECV",
    "Forklift",
    "Heavy_DT",
    "Heavy_FT",
    "Heavy_ST",
    "Large_Bus",
    "Large_Car",
    "Light_DT",
    "Light_PV",
    "Medium_Bus",
    "Medium_Car",
    "Medium_SUV",
    "Medium_TT",
    "Mini_Car",
    "Mixer_Truck",
    "Pickup",
    "Road_Roller",
    "Shovel_Loader",
    "Small_Bus",
)


class ATRNetSTAR(SceneDataset):
    """ATRNet-STAR. ``label`` is the number of the vehicle type in the order of the folders' names.

    Args:
        setting: folder of the benchmark's setting.
        form: ``amplitude``, ground range, 8 bits, one channel; or ``complex``, slant range, the real and imaginary part
            of HH, HV, VH, VV, eight channels.
        level: the type (40), the subclass (21) or the class (4) as label; the latter two open every annotation.
        boxes: give ``bbox_xyxy`` [1, 4] and ``label`` [1] instead of one label.

    Other arguments and errors: :class:`~codemae_datasets.public._scenes.SceneDataset`; ``ratio`` is not used.
    """

    card: ClassVar[Card] = Card(
        name="atrnet_star",
        title="ATRNet-STAR",
        home="https://huggingface.co/datasets/waterdisappear/ATRNet-STAR",
        licence="as on its page; for research",
        citation="Liu et al., arXiv:2501.13354, 2025",
        size="97,375 ground-range and 96,949 slant-range chips of 128 x 128 pixels (SOC-40)",
        modality="SAR (X and Ku band, airborne)",
        bands="amplitude, 8 bits; or complex HH, HV, VH, VV",
        gsd_m=(0.12, 0.15),
        splits={"train": 68_091, "test": 29_284},
        layout="SOC_40classes/{train,test}/<type>/<band>_<polarisation>_<depression>_<azimuth>_<id>.tif (complex: .mat)"
        " with a .xml beside it; other settings likewise",
        source="README and benchmark code of waterdisappear/ATRNet-STAR; torchcvnn's reader for the complex form",
        task="one of 40 vehicle types, with a box",
        classes=(
            "Buick_Excelle_GT",
            "Buick_GL8",
            "CNHTC_HOWO",
            "Chang'an_CS75_Plus",
            "Chang'an_Starlight_4500",
            "Changfeng_Cheetah_CFA6473C",
            "Changlin_8228-5",
            "Chery_Arrizo 5",
            "Chery_qq3",
            "Chevrolet_Blazer_1998",
            "Dongfeng_Duolika",
            "Dongfeng_EQ6608LTV",
            "Dongfeng_Forthing_Lingzhi",
            "Dongfeng_Tianjin_DFH2200B",
            "Dongfeng_Tianjin_KR230",
            "FAW_J6P",
            "FAW_Jiabao_T51",
            "Foton_BJ1045V9JB5-54",
            "Great_Wall_Voleex_C50",
            "Great_Wall_poer",
            "Hawtai_EV160B",
            "Hongqi_CA7180A3E",
            "Hongqi_h5",
            "Huanghai_N1",
            "Hyundai_HLF25_II",
            "JAC_Junling",
            "JINBEI_SY5033XJH",
            "Jeep_Patriot",
            "Lincoln_MKC",
            "Lveco_Proud_2009",
            "MAXUS_V80",
            "Mitsubishi_Outlander_2003",
            "SDLG_ZL40F",
            "SHACMAN_DeLong_M3000",
            "SHACMAN_DeLong_X3000",
            "WAW_Aochi_1800",
            "WAW_Aochi_Hongrui",
            "Wuling_Rongguang_V",
            "Yangzi_YZK6590XCA",
            "Yutong_ZK6120HY1",
        ),
    )
    all_bands = ("SAR",)
    rgb_bands = ("SAR",)
    #: variables of a complex chip
    polarisations: ClassVar[tuple[str, ...]] = ("data_hh", "data_hv", "data_vh", "data_vv")

    def __init__(
        self,
        root: str | Path = "data",
        split: str | None = None,
        bands: Sequence[str] | None = None,
        transforms: Transform | None = None,
        download: bool = False,
        checksum: bool = False,
        shots: int | None = None,
        seed: int = 0,
        setting: str = "SOC_40classes",
        form: Form = "amplitude",
        level: Level = "type",
        boxes: bool = False,
    ) -> None:
        self.setting = one_of("setting", setting, SETTINGS, self)
        self.form = one_of("form", form, get_args(Form), self)
        self.level = one_of("level", level, get_args(Level), self)
        self.boxes = boxes
        super().__init__(root, split, bands, transforms, download, checksum, shots=shots, seed=seed)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the level, by number."""
        return {"type": self.card.classes, "subclass": SUBCLASSES, "class": CATEGORIES}[self.level]

    def _index(self) -> list[Item]:
        suffix = ".tif" if self.form == "amplitude" else ".mat"
        folder = self._need(self.root / self.setting / self.split)
        items = []
        for child in sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")):
            label = self.card.classes.index(one_of("vehicle type", child.name, self.card.classes, self))
            for path in self._folder(child, (suffix,)):
                note = path.with_suffix(".xml")
                number = label if self.level == "type" else self._level(note)
                items.append(Item(f"{child.name}/{path.stem}", {"image": path, "boxes": note}, number))
        return self._few(items)

    def _level(self, note: Path) -> int:
        return self.classes.index(one_of(self.level, read_voc(note, self.level)[1][0], self.classes, self))

    def _load(self, item: Item) -> Sample:
        label = torch.tensor(item.label)
        image = self._chip(item.files["image"])
        if not self.boxes:
            return {"image": image, "label": label}
        boxes = torch.tensor(read_voc(item.files["boxes"], "type")[0], dtype=torch.float32).reshape(-1, 4)
        return {"image": image, "bbox_xyxy": boxes, "label": label.expand(len(boxes)).clone()}

    def _chip(self, path: Path) -> Tensor:
        if self.form == "amplitude":
            return self._channels(path, self.all_bands, self.bands)
        chip = read_mat(path)
        missing = [name for name in self.polarisations if name not in chip]
        if missing:
            raise InputError(f"the chip {path} lacks a polarisation", found=", ".join(chip), expected=missing[0])
        parts = [part for name in self.polarisations for part in (chip[name].real, chip[name].imag)]
        return torch.from_numpy(np.stack(parts).astype(np.float32))

    def plot(self, sample: Sample, show_titles: bool = True, suptitle: str | None = None) -> Any:
        """A picture; of a complex chip, the amplitude of HH in decibels."""
        image = sample["image"]
        if len(image) == 8:
            sample = sample | {
                "image": 20 * torch.log10(image[:2].square().sum(0, keepdim=True).sqrt().clamp(min=1e-6))
            }
        return super().plot(sample, show_titles, suptitle)
