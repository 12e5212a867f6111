"""YESeg-OPT-SAR: sub-metre optical and SAR tiles of two places in China.

Wei et al., "MGFNet: An MLP-dominated gated fusion network for semantic segmentation of high-resolution multi-modal
remote sensing images", JAG, 2024.
"""

from __future__ import annotations

from typing import ClassVar

from codemae_datasets.public._base import Card, Item, PairedDataset, natural


class YESegOPTSAR(PairedDataset):
    """All tiles: no lists are published. ``mask`` 0 to 6; background is 255, as in the papers' linear probes."""

    card: ClassVar[Card] = Card(
        name="yeseg_opt_sar",
        title="YESeg-OPT-SAR",
        home="https://github.com/yeyuanxin110/YESeg-OPT-SAR",
        licence="not stated; cite the paper",
        citation="Wei et al., JAG, 2024, pii S1569843224005971",
        size="2,231 pairs of 256 x 256 pixels",
        modality="optical (Google Earth) + SAR",
        bands="RGB and one SAR band, 8 bits",
        gsd_m=(0.5, 0.5),
        splits={"all": 2_231},
        layout="{optical,sar,label}/<area>/<n>.png",
        source="yeyuanxin110/YESeg-OPT-SAR (README)",
        task="land cover",
        classes=("bare ground", "low vegetation", "trees", "houses", "water", "roads", "other"),
    )
    mask_codes = {0: 255, **{n + 1: n for n in range(7)}}  # noqa: RUF012
    ospretrain = "YESeg-OPT-SAR"
    probe = "YESeg"

    def _index(self) -> list[Item]:
        folder = self._first(self.root / "YESeg-OPT-SAR dataset", self.root / "optical")
        folder = self.root if folder.name == "optical" else folder
        areas = sorted((p.name for p in self._need(folder / "optical").iterdir() if p.is_dir()), key=natural)
        folders = {"image": folder / "optical", "image_sar": folder / "sar", "mask": folder / "label"}
        return [
            Item(f"{area}/{item.name}", item.files)
            for area in areas
            for item in self._matched({key: path / area for key, path in folders.items()})
        ]
