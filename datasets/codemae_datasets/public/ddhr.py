"""DDHR: GaoFen-2 and GaoFen-3 over Xi'an, Dongying (Shandong) and Pohang (South Korea).

Ren et al., "A dual-stream high resolution network: Deep fusion of GF-2 and GF-3 data for land cover classification",
JAG 112, 2022.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Card, Item, PairedDataset


def _card(name: str, region: str, folder: str) -> Card:
    return Card(
        name=name,
        title=f"DDHR ({region})",
        home="https://github.com/XD-MG/DDHRNet",
        licence="not stated; cite the paper",
        citation="Ren et al., JAG 112, 2022, doi:10.1016/j.jag.2022.102896",
        size="pairs of 256 x 256 pixels (Xi'an: also of 128 x 128); 7,831 of Xi'an and Dongying in OSPretrain-1M",
        modality="optical (GaoFen-2) + SAR (GaoFen-3)",
        bands="RGB and one SAR band, 8 bits, JPEG",
        gsd_m=(1.0, 1.0),
        splits={"all": None, "train": None, "val": None},
        layout=f"{folder}/{{GF2,GF3}}/<n>.jpg and {folder}/label/<n>.png; for train and val also"
        f" {folder}/{{train,val}}M_list.txt (which DDHRNet's create_data_list.py draws) or {{train,val}}.txt of names",
        source="XD-MG/DDHRNet (create_data_list.py and its lists) and whu-pzhang/ASANet, both for South Korea; the same"
        " layout is taken for the other regions. Class order as in ASANet and scenarri/CoDeMAE; XD-MG/WHFNet names"
        " class 2 farmland and class 4 greenery",
        task="land cover",
        classes=("buildings", "roads", "greenery", "water", "farmland"),
    )


class DDHRSK(PairedDataset):
    """DDHR over South Korea; ``mask`` 0 to 4, 255 for no class.

    Splits: ``all`` is the whole folder; ``train`` and ``val`` are lists, which the authors' script draws at random.
    """

    card: ClassVar[Card] = _card("ddhr_sk", "South Korea", "korea")
    region: ClassVar[str] = "korea"
    probe: ClassVar[str | None] = "DDHR-SK"

    def _index(self) -> list[Item]:
        folder = self._first(self.root / self.region, self.root / "GF2")
        folder = folder if folder.name == self.region else self.root
        folders = {"image": folder / "GF2", "image_sar": folder / "GF3", "mask": folder / "label"}
        if self.split == "all":
            return self._matched(folders)
        path = self._first(folder / f"{self.split}M_list.txt", folder / f"{self.split}.txt")
        # a line is a name, or the paths of the three files of one name, from the machine where the list was drawn
        names = [line.split()[0].replace("\\", "/").rpartition("/")[2] for line in self._lines(path)]
        return self._matched(folders, names=[name.partition(".")[0] for name in names])


class DDHRXA(DDHRSK):
    """DDHR over Xi'an; see :class:`DDHRSK`."""

    card: ClassVar[Card] = _card("ddhr_xa", "Xi'an", "xian")
    region: ClassVar[str] = "xian"
    ospretrain = "DDHR"
    probe = None


class DDHRDY(DDHRXA):
    """DDHR over Dongying; see :class:`DDHRSK`."""

    card: ClassVar[Card] = _card("ddhr_dy", "Dongying", "shandong")
    region: ClassVar[str] = "shandong"
